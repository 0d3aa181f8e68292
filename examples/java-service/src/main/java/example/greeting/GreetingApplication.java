package example.greeting;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

@SpringBootApplication
public class GreetingApplication {

    public static void main(String[] arguments) {
        SpringApplication.run(GreetingApplication.class, arguments);
    }
}
