package harbour.text;

/** What the service answers with. */
public final class Motto {
    private Motto() {
    }

    public static String line() {
        return "@MOTTO@";
    }
}
