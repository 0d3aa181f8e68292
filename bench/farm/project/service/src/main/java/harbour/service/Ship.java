package harbour.service;

import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.Id;
import jakarta.validation.constraints.NotBlank;

@Entity
public class Ship {
    @Id
    @GeneratedValue
    private Long id;

    @NotBlank
    private String name;

    protected Ship() {
    }

    public Ship(String name) {
        this.name = name;
    }

    public Long getId() {
        return id;
    }

    public String getName() {
        return name;
    }
}
