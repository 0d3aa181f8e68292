package example.chandler;

import org.apache.commons.lang3.StringUtils;

public final class Words {

    private static final String GREETING = "fair winds";

    private Words() {
    }

    public static String greeting() {
        return StringUtils.capitalize(GREETING);
    }
}
