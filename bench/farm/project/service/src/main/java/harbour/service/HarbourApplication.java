package harbour.service;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

@SpringBootApplication
public class HarbourApplication {
    public static void main(String[] arguments) {
        SpringApplication.run(HarbourApplication.class, arguments);
    }
}
