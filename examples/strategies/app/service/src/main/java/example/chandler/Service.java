package example.chandler;

import com.google.gson.Gson;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** Answers every request with one constant; without PORT it prints the answer and ends. */
public final class Service {

    private Service() {
    }

    public static void main(String[] arguments) throws IOException {
        byte[] answer = (new Gson().toJson(Map.of("greeting", Words.greeting())) + "\n").getBytes(StandardCharsets.UTF_8);
        String port = System.getenv("PORT");
        if (port == null) {
            System.out.write(answer);
            System.out.flush();
            return;
        }
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(port)), 0);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
    }
}
