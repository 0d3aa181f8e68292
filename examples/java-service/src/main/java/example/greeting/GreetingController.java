package example.greeting;

import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@RestController
public class GreetingController {

    private static final String GREETING = "Fair winds";

    @GetMapping("/")
    public String greet() {
        return GREETING + "\n";
    }
}
