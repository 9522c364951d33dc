//! Compose files, one by one.

use super::{File, import, imported, missing, notes, options, refused};

/// The rule of a name.
fn rule(text: &str, name: &str) -> String {
    let imported = imported(text);
    let rest = imported.split_once(&format!("  - name: {name}\n")).unwrap_or_else(|| panic!("{imported}")).1;
    rest.split("  - name: ").next().expect("a rule").to_owned()
}

fn group(text: &str, name: &str) -> Option<String> {
    let imported = imported(text);
    let key = format!("{name}: ");
    imported.lines().find_map(|line| line.trim().strip_prefix(&key).map(str::to_owned))
}

#[test]
fn a_file_and_what_comes_of_it_are_as_the_documentation_has_them() {
    let page = include_str!("../../../../../docs/policy.md");
    let text = page.split_once("```yml\n# compose.yaml\n").expect("an example").1;
    let (text, rest) = text.split_once("```").expect("its end");
    let imported = imported(&format!("# compose.yaml\n{text}")).replace("file.yaml", "compose.yaml");
    let imported = imported.replace("mode: enforce", "mode: audit");
    assert!(rest.contains(&imported), "docs/policy.md lacks\n{imported}");
}

#[test]
fn a_service_without_networks_is_on_the_default_one() {
    let text =
        "services: {web: {}, db: {networks: []}, api: {networks: [default, back]}, x: {networks: {back: }}}
networks: {back: {internal: true}}\n";
    assert_eq!(group(text, "network-default").as_deref(), Some("[shop/api, shop/db, shop/web]"));
    assert_eq!(group(text, "network-back").as_deref(), Some("[shop/api, shop/x]"));
    let api = rule(text, "to-api");
    assert!(api.contains("- {from: [{group: network-back}, {group: network-default}]}\n"), "{api}");
    assert!(rule(text, "from-api").contains("- {to: [{group: outside}, {group: node}]}\n"));
    let x = rule(text, "from-x");
    assert!(x.contains("- {to: {unit: \"*docker*\"}, ports: [udp/53, tcp/53]}\n"), "{x}");
    assert!(!x.contains("outside"), "{x}");
}

#[test]
fn published_ports_are_open_for_all_or_for_the_host() {
    let text = "services:
  web:
    ports:
      - 8080:80
      - '127.0.0.1:9000:9000'
      - {target: 53, published: '5353', protocol: udp, mode: host}
      - {target: 9001, host_ip: '::1'}
      - '127.0.0.1:81:80'
      - 8443\n";
    let web = rule(text, "to-web");
    assert!(web.contains("- {from: any, ports: [tcp/80, udp/53, tcp/8443]}\n"), "{web}");
    assert!(web.contains("- {from: {group: node}, ports: [tcp/9000, tcp/9001]}\n"), "{web}");
    // Docker publishes nothing of whom nothing leads outside.
    let inner =
        rule("services: {a: {networks: [x], ports: [80]}}\nnetworks: {x: {internal: true}}\n", "to-a");
    assert!(!inner.contains("any"), "{inner}");
}

#[test]
fn modes_of_the_network() {
    let text = "services:
  web: {ports: [80]}
  side: {network_mode: 'service:web'}
  further: {network_mode: 'container:own'}
  own: {container_name: own, network_mode: 'service:side'}
  host: {network_mode: host}
  none: {network_mode: none}
  beside: {network_mode: 'service:none'}
  old: {network_mode: bridge}
  older: {network_mode: default}\n";
    assert_eq!(
        group(text, "network-of-web").as_deref(),
        Some("[shop/further, shop/own, shop/side, shop/web]")
    );
    assert_eq!(
        group(text, "network-default").as_deref(),
        Some("[shop/further, shop/own, shop/side, shop/web]")
    );
    // Who answers at a port that was published nobody knows.
    assert!(rule(text, "to-side").contains("- {from: any, port: tcp/80}"));
    assert!(rule(text, "to-host").contains("- {from: any}\n"));
    assert!(rule(text, "from-host").contains("- {to: any}\n"));
    let none = rule(text, "from-none");
    assert!(none.contains("- {to: {group: network-of-none}}\n") && !none.contains("outside"), "{none}");
    assert_eq!(group(text, "network-bridge").as_deref(), Some("[shop/old, shop/older]"));
    let alone = rule("services: {a: {network_mode: none}}\n", "to-a");
    assert!(alone.contains("- {from: shop/a}\n"), "{alone}");
}

#[test]
fn what_cannot_be_told_is_missing_and_the_service_is_alone() {
    for (service, key, why) in [
        ("{network_mode: 'container:x'}", "services.a.network_mode", "which network the container `x` has"),
        ("{network_mode: '${MODE}'}", "services.a.network_mode", "`docker compose config` fills in"),
        ("{network_mode: 'service:b'}", "services.a.network_mode", "leads to no service"),
        ("{network_mode: 'service:a'}", "services.a.network_mode", "leads to no service"),
        ("{network_mode: host, networks: [x]}", "services.a.network_mode", "beside `networks`"),
        ("{extends: {service: b}}", "services.a.extends", "is not read"),
        ("{networks: [y]}", "services.a.networks", "there is no network `y`"),
    ] {
        let (lines, text) = missing(&format!("services:\n  a: {service}\nnetworks: {{x: {{}}}}\n"));
        assert_eq!(lines.len(), 1, "{service}: {lines:?}");
        assert!(lines[0].starts_with("file.yaml:2:") && lines[0].contains(&format!("`{key}`")), "{lines:?}");
        assert!(lines[0].contains(why), "{service}: {lines:?}");
        assert!(text.contains(&format!("# Missing: {}", lines[0])), "{text}");
        assert!(text.contains("- {from: shop/a}\n") && !text.contains("outside"), "{text}");
    }
    let (lines, text) = missing("services:\n  a:\n    ports: ['${PORT}:80', 81]\n");
    assert!(lines[0].starts_with("file.yaml:3:13: `services.a.ports[0]`"), "{lines:?}");
    assert!(text.contains("- {from: any, port: tcp/81}\n"));
    assert!(
        missing("include: [x.yaml]\nservices: {}\n").0[0].contains("`include`: what is included is not read")
    );
    assert!(missing("services: {\"a b\": {}}\n").0[0].contains("is no name of a service"));
    assert!(
        missing("services: {a: {networks: [n]}}\nnetworks: {n: {name: '${N}'}}\n").0[0]
            .contains("`networks.n.name`")
    );
}

#[test]
fn networks_are_the_same_where_docker_calls_them_the_same_over_all_files() {
    let file = |name: &str, text: &str| File { path: name.into(), text: text.to_owned(), folder: None };
    let web = file(
        "web.yaml",
        "name: web\nservices: {web: {networks: [p]}}\nnetworks: {p: {name: proxy, external: true}}\n",
    );
    let proxy =
        "name: proxy\nservices: {front: {networks: [own]}}\nnetworks: {own: {name: proxy, internal: true}}\n";
    let text = import(&[web, file("proxy.yaml", proxy)], &options()).unwrap().text;
    assert!(text.contains("  # external: who is on it"), "{text}");
    assert!(text.contains("  network-p: [proxy/front, web/web]\n"), "{text}");
    assert!(text.contains("  network-own: [proxy/front, web/web]\n"), "{text}");
    // Whether it leads outside is known now.
    assert!(!text.contains("outside:"), "{text}");
    let old = "services: {a: {networks: [x, y]}, b: {networks: [y]}}\nnetworks: {x: {external: {name: y}}, y: {external: true}}\n";
    assert_eq!(group(old, "network-x").as_deref(), Some("[shop/a, shop/b]"));
    let host = "services: {a: {networks: [h]}}\nnetworks: {h: {name: host, external: true}}\n";
    assert!(rule(host, "to-a").contains("from: any"));
}

#[test]
fn a_bridge_on_which_nobody_may_interact_lets_nobody() {
    let opts = "driver_opts: {com.docker.network.bridge.enable_icc: VALUE}";
    for value in ["'false'", "false", "0", "'False'", "f", "'${ICC:-false}'"] {
        let text = format!(
            "services: {{a: {{}}, b: {{}}}}\nnetworks: {{default: {{{}}}}}\n",
            opts.replace("VALUE", value)
        );
        let a = rule(&text, "to-a");
        assert!(a.contains("- {from: shop/a}\n"), "{a}");
        assert!(rule(&text, "from-a").contains("{group: outside}"));
    }
}

#[test]
fn what_is_to_be_known_is_noted() {
    let profiles = "services: {a: {profiles: [debug]}, b: {provider: {type: x}}}\n";
    assert!(notes(profiles)[0].contains("whether their profiles are active or not"));
    assert!(!imported(profiles).contains("shop/b"));
    let external = "services: {a: {networks: [n]}}\nnetworks: {n: {external: true}}\n";
    assert!(notes(external)[0].starts_with("network `n` of project shop: external"), "{:?}", notes(external));
    let wire = "services: {a: {networks: [n]}}\nnetworks: {n: {driver: macvlan}}\n";
    assert!(notes(wire)[0].contains("driver macvlan"), "{:?}", notes(wire));
}

#[test]
fn a_project_is_called_as_somebody_says_or_its_file_or_its_folder() {
    let file = |folder: Option<&str>, text: &str| File {
        path: "compose.yaml".into(),
        text: text.to_owned(),
        folder: folder.map(str::to_owned),
    };
    let called = |folder, text: &str, project: Option<&str>| {
        let options = super::Options { project: project.map(str::to_owned), ..options() };
        let text = import(&[file(folder, text)], &options).map(|imported| imported.text);
        text.map(|text| {
            text.lines().find_map(|line| line.strip_prefix("policy: ")).expect("a name").to_owned()
        })
    };
    let services = "services: {a: {}}\n";
    let named = "name: own\nservices: {a: {}}\n";
    assert_eq!(called(Some("_My Shop.2"), services, None).unwrap(), "myshop2");
    assert_eq!(called(Some("x"), named, None).unwrap(), "own");
    assert_eq!(called(Some("x"), named, Some("given")).unwrap(), "given");
    assert!(called(None, services, None).unwrap_err().line().contains("--project"));
    assert!(called(None, services, Some("Given")).is_err());
    let variable = called(None, "name: ${N}\nservices: {}\n", None).unwrap_err();
    assert!(variable.line().contains("`docker compose config` fills in"), "{variable}");
}

#[test]
fn two_documents_or_files_of_one_project_are_refused() {
    assert!(
        refused("services: {}\n---\nservices: {}\n")
            .contains("file.yaml:3:1: the file: is a second document")
    );
    let file = || super::file("name: a\nservices: {}\n");
    let problem = import(&[file(), file()], &options()).unwrap_err();
    assert!(problem.line().contains("second file of project `a`"), "{problem}");
}
