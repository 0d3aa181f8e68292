package harbour.service;

import harbour.text.Motto;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.springframework.core.io.ClassPathResource;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@RestController
public class AnswerController {
    /** The motto of this build, and the signals of the company's library. */
    @GetMapping("/")
    public String answer() throws IOException {
        String signals = new ClassPathResource("company/signals.txt").getContentAsString(StandardCharsets.UTF_8);
        return Motto.line() + ", " + signals;
    }
}
