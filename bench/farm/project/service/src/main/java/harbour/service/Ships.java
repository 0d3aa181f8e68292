package harbour.service;

import org.springframework.data.jpa.repository.JpaRepository;

public interface Ships extends JpaRepository<Ship, Long> {
}
