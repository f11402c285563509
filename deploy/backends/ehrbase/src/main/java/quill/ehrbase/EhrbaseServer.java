package quill.ehrbase;

import java.util.Set;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.actuate.autoconfigure.security.servlet.ManagementWebSecurityAutoConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.autoconfigure.security.servlet.SecurityAutoConfiguration;
import org.springframework.scheduling.annotation.EnableScheduling;

/**
 * EHRbase from its published modules. Its own configuration module does everything; the two exclusions keep
 * Spring's security defaults from competing with EHRbase's.
 *
 * <p>That module is named and not imported: it was compiled for a newer Java than the compiler at hand may be.
 */
@SpringBootConfiguration
@EnableScheduling
@EnableAutoConfiguration(
        exclude = {ManagementWebSecurityAutoConfiguration.class, SecurityAutoConfiguration.class})
public class EhrbaseServer {

    private static final String MODULE = "org.ehrbase.configuration.EhrBaseServerConfiguration";

    public static void main(String[] arguments) {
        SpringApplication application = new SpringApplication(EhrbaseServer.class);
        application.setSources(Set.of(MODULE));
        application.run(arguments);
    }
}
