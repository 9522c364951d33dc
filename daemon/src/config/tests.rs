//! Files in, values and messages out.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::event::is_hostile;

const FILE: &str = "/etc/cofferdam/config.yaml";

fn parse(text: &str) -> Result<Config, Problem> {
    Config::parse(Path::new(FILE), text)
}

fn broken(text: &str) -> String {
    match parse(text) {
        Ok(config) => panic!("it was taken: {config:?}"),
        Err(problem) => problem.line().replace("/etc/cofferdam/", ""),
    }
}

/// A file of its own for a test.
fn file(name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = std::env::temp_dir().join(format!("cofferdam-config-{}-{name}", std::process::id()));
    fs::write(&path, text).expect("it can be written");
    path
}

fn source(file: &Path) -> Source {
    Source { file: Some(file.to_owned()), given: Given::default() }
}

#[test]
fn a_whole_file_is_read() {
    let text = "listen: '[::1]:9000'\nruntimes:\n  docker: /run/docker.sock\n\
        limits:\n  ledger_rows: 4096\n  flow_ring_bytes: 8192\n  record_ring_bytes: 4096\n  flows: 2048\n\
        \u{20} records_per_second: 0\n  record_burst: 7\n\
        outside:\n  stripe: [203.0.113.0/24, 198.51.100.7]\ndns_names: false\n";
    let config = parse(text).unwrap_or_else(|problem| panic!("{problem}"));
    let limits = &config.limits;
    assert_eq!(config.listen, "[::1]:9000".parse().unwrap());
    assert_eq!(config.runtimes.docker.path(), Path::new("/run/docker.sock"));
    assert_eq!((limits.ledger_rows.get(), limits.flows.get()), (4_096, 2_048));
    assert_eq!((limits.flow_ring_bytes.get(), limits.record_ring_bytes.get()), (8_192, 4_096));
    assert_eq!((limits.records_per_second.get(), limits.record_burst.get()), (0, 7));
    assert!(!config.dns_names);
    let networks: Vec<_> = config.outside.networks().map(|(name, cidr)| format!("{name} {cidr}")).collect();
    assert_eq!(networks, ["stripe 203.0.113.0/24", "stripe 198.51.100.7/32"]);
}

#[test]
fn what_a_file_leaves_out_has_its_default() {
    for text in
        ["", "\n", "# nothing\n", "{}", "outside: {}\n", "limits: {}\n", "\u{feff}limits: {flows: 131072}\n"]
    {
        match parse(text) {
            Ok(config) => assert_eq!(config, Config::default(), "{text:?}"),
            Err(problem) => panic!("{text:?}: {problem}"),
        }
    }
}

#[test]
fn the_documentation_shows_a_problem_as_it_is_shown() {
    let problem = parse("limits:\n  ledger_rows: 4096\n  flows: many\n").unwrap_err();
    for page in [include_str!("../../../docs/config.md"), include_str!("../../../docs/cli.md")] {
        assert!(page.contains(&problem.to_string()), "a page shows another message than\n{problem}");
    }
}

#[test]
fn a_problem_is_told_with_its_place_and_key() {
    let files = [
        "listen: everywhere",
        "runtimes: {docker: docker.sock}",
        "runtimes: {docker: 1}",
        "runtimes: {dokcer: /run/d.sock}",
        "runtimes:",
        "limits:\n  ledger_rows: 63",
        "limits:\n  flow_ring_bytes: 5000",
        "limits:\n  record_ring_bytes: -1",
        "limits:\n  flows: many",
        "limits:\n  flows: 99999999999999999999999",
        "limits:\n  flows: {}",
        "policies:\n  room: {pairs: 1023}",
        "policies:\n  room: {identities: 65537}",
        "policies:\n  room: {pars: 2048}",
        "limits:\n  flows: 2048\n  flows: 2048",
        "foo: 1",
        "dns_names: maybe",
        "outside: [1]",
        "outside:\n  a: 203.0.113.0/24",
        "outside:\n  a:\n    - 203.0.113.0/24\n    - 203.0.113.7/24",
        "outside:\n  a: [example.com]",
        "outside:\n  203.0.113.7: []",
        "outside:\n  a: [203.0.113.0/24]\n  a: []",
        "outside:\n  a: [203.0.113.0/24]\n  b: [203.0.113.0/24]",
        "outside:\n  \"x\\ey\": []",
    ];
    let all = files.map(|text| format!("{text:?}\n    {}\n", broken(text))).join("");
    insta::assert_snapshot!(all, @r##"
    "listen: everywhere"
        config.yaml:1:9: `listen`: invalid socket address syntax
    "runtimes: {docker: docker.sock}"
        config.yaml:1:20: `runtimes.docker`: must be a path that begins with / and is shorter than 108 bytes
    "runtimes: {docker: 1}"
        config.yaml:1:20: `runtimes.docker`: must be a path that begins with / and is shorter than 108 bytes
    "runtimes: {dokcer: /run/d.sock}"
        config.yaml:1:12: `runtimes.dokcer`: unknown field `dokcer`, expected one of docker, podman, containerd, docker_root, storage_root; did you mean `docker`?
    "runtimes:"
        config.yaml:1:9: `runtimes`: expected keys and values
    "limits:\n  ledger_rows: 63"
        config.yaml:2:16: `limits.ledger_rows`: must be a whole number from 64 to 1048576
    "limits:\n  flow_ring_bytes: 5000"
        config.yaml:2:20: `limits.flow_ring_bytes`: must be a power of two from 4096 to 1073741824
    "limits:\n  record_ring_bytes: -1"
        config.yaml:2:22: `limits.record_ring_bytes`: must be a power of two from 4096 to 1073741824
    "limits:\n  flows: many"
        config.yaml:2:10: `limits.flows`: must be a whole number from 1024 to 4194304
    "limits:\n  flows: 99999999999999999999999"
        config.yaml:2:10: `limits.flows`: must be a whole number from 1024 to 4194304
    "limits:\n  flows: {}"
        config.yaml:2:10: `limits.flows`: must be a whole number from 1024 to 4194304
    "policies:\n  room: {pairs: 1023}"
        config.yaml:2:17: `policies.room.pairs`: must be a whole number from 1024 to 1048576
    "policies:\n  room: {identities: 65537}"
        config.yaml:2:22: `policies.room.identities`: must be a whole number from 1024 to 65536
    "policies:\n  room: {pars: 2048}"
        config.yaml:2:10: `policies.room.pars`: unknown field `pars`, expected one of identities, pairs, intervals, networks, names, cgroups, addresses; did you mean `pairs`?
    "limits:\n  flows: 2048\n  flows: 2048"
        config.yaml:3:3: `limits`: duplicate mapping key `flows` is not allowed here
    "foo: 1"
        config.yaml:1:1: `foo`: unknown field `foo`, expected one of listen, runtimes, limits, outside, dns_names, syscalls, policies, alerts, anomalies, history
    "dns_names: maybe"
        config.yaml:1:12: `dns_names`: invalid boolean (true or false expected)
    "outside: [1]"
        config.yaml:1:10: `outside`: expected keys and values
    "outside:\n  a: 203.0.113.0/24"
        config.yaml:2:6: `outside.a`: expected a list
    "outside:\n  a:\n    - 203.0.113.0/24\n    - 203.0.113.7/24"
        config.yaml:4:7: `outside.a[1]`: `203.0.113.7/24` has bits beyond the length of its prefix; did you mean 203.0.113.0/24?
    "outside:\n  a: [example.com]"
        config.yaml:2:7: `outside.a[0]`: `example.com` is not a network, as in 203.0.113.0/24 or 2001:db8::/32
    "outside:\n  203.0.113.7: []"
        config.yaml:2:3: `outside.203.0.113.7`: `203.0.113.7` is an address, not a name
    "outside:\n  a: [203.0.113.0/24]\n  a: []"
        config.yaml:3:3: `outside`: duplicate mapping key `a` is not allowed here
    "outside:\n  a: [203.0.113.0/24]\n  b: [203.0.113.0/24]"
        config.yaml:2:3: `outside`: 203.0.113.0/24 stands there twice, for `a` and for `b`
    "outside:\n  \"x\\ey\": []"
        config.yaml:2:3: `outside.x�y`: the name `x�y` has characters that cannot be seen or that a terminal would obey
    "##);
}

#[test]
fn what_is_no_yaml_or_of_another_shape_is_told_with_its_place() {
    let files = [
        "limits: [1",
        "- 1",
        "text",
        "---\n",
        "listen: '[::1]:1'\n---\nb: 2\n",
        "outside: {a: [1.2.3.4]}\n  b: [1.2.3.5]",
        "? [a]\n: b",
        "outside: {a: &x [1.2.3.4], b: *y}",
    ];
    let all = files.map(|text| format!("{text:?}\n    {}\n", broken(text))).join("");
    insta::assert_snapshot!(all, @r##"
    "limits: [1"
        config.yaml:1:9: `limits`: expected keys and values
    "- 1"
        config.yaml:1:1: the file: expected keys and values
    "text"
        config.yaml:1:1: the file: expected keys and values
    "---\n"
        config.yaml:1:4: the file: expected keys and values
    "listen: '[::1]:1'\n---\nb: 2\n"
        config.yaml:3:1: the file: only single YAML document expected but multiple found
    "outside: {a: [1.2.3.4]}\n  b: [1.2.3.5]"
        config.yaml:2:3: the file: while parsing a block mapping, did not find expected key
    "? [a]\n: b"
        config.yaml:1:3: the file: expected text
    "outside: {a: &x [1.2.3.4], b: *y}"
        config.yaml:1:31: `outside`: reference to unknown value
    "##);
}

#[test]
fn a_file_that_explodes_is_refused() {
    let laughs = (1..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, at| {
        let before = format!("*a{},", at - 1).repeat(10);
        text + &format!("a{at}: &a{at} [{}]\n", before.trim_end_matches(','))
    });
    let many = |text: &str| format!("outside: {{a: [{}]}}", text.repeat(200_000));
    for text in [
        format!("outside: {{{}}}", laughs.replace('\n', ",")),
        "[".repeat(100_000),
        "{outside: ".repeat(100_000),
        many("1.2.3.4,"),
        many("*a,"),
        many("&a 1.2.3.4,"),
    ] {
        broken(&text);
    }
}

#[test]
fn a_message_repeats_nothing_that_a_terminal_would_obey_and_stays_short() {
    let long = "é".repeat(32_000);
    let lines = "a\\n".repeat(20_000);
    for text in [
        "\"a\\e[2Jb\": 1".to_owned(),
        "listen: \"\u{202e}x\\nerror: y\"".to_owned(),
        "li\u{9b}sten: 1".to_owned(),
        "outside: {\"a\\e[2J\\n\\0\\u202eb\": 1}".to_owned(),
        format!("listen: \"{long}\"\n"),
        format!("{long}: 1\n"),
        format!("outside: {{{long}: 1}}\n"),
        format!("outside: {{{long}: [1.2.3.4]}}\n"),
        format!("outside: {{a: [{long}]}}\n"),
        format!("outside: {{\"{lines}\": [1]}}\n"),
        format!("outside: {{a: [\"{lines}\"]}}\n"),
    ] {
        let problem = parse(&text).unwrap_err();
        let shown = problem.to_string();
        assert!(!shown.contains(|it| it != '\n' && is_hostile(it)), "{shown:?}");
        assert!(!problem.line().contains(is_hostile), "{:?}", problem.line());
        assert!(shown.lines().count() < 12 && shown.len() < 4_000, "{shown}");
        assert!(problem.line().len() < 2_000, "{}", problem.line());
    }
}

#[test]
fn a_file_that_was_named_must_exist_and_be_a_file() {
    for path in ["/nonexistent/config.yaml", "/dev", "/dev/zero"] {
        let problem = source(Path::new(path)).load().unwrap_err().to_string();
        assert!(problem.contains("cannot be read") && problem.contains(path), "{problem}");
    }
    let too_long = file("long", "#".repeat(SIZE_LIMIT + 1));
    let no_text = file("bytes", b"listen: x\n\xff\n");
    assert!(source(&too_long).load().unwrap_err().line().contains("longer than"));
    assert!(source(&no_text).load().unwrap_err().line().contains("line 2, byte 10"));
    for path in [too_long, no_text] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn what_is_shown_says_where_each_value_comes_from_and_reads_as_what_it_was() {
    let text = "syscalls: [{name: \"shop/*\"}]\n\
        outside: {\"# a: b\": [203.0.113.0/24, 2001:db8::/32], no: [::/0]}\n\
        runtimes: {docker: \"/run/a b\"}\nlimits: {flows: 2048}\n";
    let path = file("show", text);
    let (config, origins) = source(&path).load_with_origins().unwrap_or_else(|problem| panic!("{problem}"));
    fs::remove_file(&path).unwrap();
    let shown = config.effective(&origins);
    insta::assert_snapshot!(shown.replace(path.to_str().unwrap(), FILE), @r##"
    alerts:
      alertmanager_token_file: ""                    # default
      alertmanagers: []                              # default
      file: ""                                       # default
      journald: false                                # default
      syslog: ""                                     # default
      webhooks: []                                   # default
    anomalies:
      deploy_hours: 4                                # default
      enabled: true                                  # default
      fan_out: 20                                    # default
      forget_days: 30                                # default
      learn_hours: 24                                # default
      resolve_minutes: 60                            # default
    dns_names: true                                  # default
    history:
      enabled: true                                  # default
      flush_seconds: 10                              # default
      folder: "/var/lib/cofferdam"                   # default
      keep_days: 30                                  # default
      megabytes: 512                                 # default
    limits:
      flow_ring_bytes: 4194304                       # default
      flows: 2048                                    # /etc/cofferdam/config.yaml
      ledger_rows: 16384                             # default
      record_burst: 8000                             # default
      record_ring_bytes: 1048576                     # default
      records_per_second: 20000                      # default
    listen: "127.0.0.1:9797"                         # default
    outside:
      "# a: b": ["203.0.113.0/24","2001:db8::/32"]   # /etc/cofferdam/config.yaml
      "no": ["::/0"]                                 # /etc/cofferdam/config.yaml
    policies:
      at_stop: "keep"                                # default
      canaries: true                                 # default
      canaries_every_seconds: 60                     # default
      cut_open_connections: true                     # default
      default_egress: "allow"                        # default
      default_ingress: "allow"                       # default
      folder: "/etc/cofferdam/policies"              # default
      never_told: "deny"                             # default
      resolvers: ["system"]                          # default
      room:
        addresses: 65536                             # default
        cgroups: 65536                               # default
        identities: 16384                            # default
        intervals: 393216                            # default
        names: 4096                                  # default
        networks: 16384                              # default
        pairs: 131072                                # default
      unresolved: "hold"                             # default
      unresolved_seconds: 5                          # default
      verify_every_seconds: 10                       # default
    runtimes:
      containerd: "/run/containerd/containerd.sock"  # default
      docker: "/run/a b"                             # /etc/cofferdam/config.yaml
      docker_root: "/var/lib/docker"                 # default
      podman: "/run/podman/podman.sock"              # default
      storage_root: "/var/lib/containers/storage"    # default
    syscalls: [{"name":"shop/*"}]                    # /etc/cofferdam/config.yaml
    "##);
    assert_eq!(parse(&shown).unwrap_or_else(|problem| panic!("{problem}")), config);
}

#[test]
fn the_shipped_file_changes_nothing_says_the_defaults_and_has_each_key_as_the_documentation_has() {
    assert_eq!(parse(SHIPPED).unwrap(), Config::default());
    // Values are commented out without a space, words with one.
    let value = |line: &str| {
        let line = line.strip_prefix('#')?;
        (!line.starts_with(' ') || line.starts_with("  ")).then(|| line.to_owned() + "\n")
    };
    let text: String = SHIPPED.lines().filter_map(value).collect();
    let text = text.replace("outside: {}", "outside:").replace("syscalls: []", "syscalls:");
    let config = parse(&text).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(config.outside.networks().count(), 2);
    assert!(!config.syscalls.is_empty());
    let config = Config { outside: Outside::default(), syscalls: Selection::default(), ..config };
    assert_eq!(config, Config::default());
    let docs = include_str!("../../../docs/config.md");
    for key in show::keys(&Config::default()) {
        let last = key.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{last}:")), "dist/config.yaml lacks `{key}`");
        assert!(docs.contains(&format!("| `{key}` |")), "docs/config.md lacks `{key}`");
    }
}

#[test]
fn a_reload_takes_names_tells_what_needs_a_restart_and_keeps_what_is_in_force_when_the_file_breaks() {
    let path = file("reload", "limits: {flows: 2048}\n");
    let in_force = InForce::new(source(&path), source(&path).load().unwrap());
    let begun = in_force.report();
    assert_eq!((begun.problem, begun.needs_restart.len()), (None, 0));

    fs::write(&path, "limits: {flows: 4096}\nlisten: 127.0.0.1:1\noutside: {a: [203.0.113.0/24]}\n").unwrap();
    assert_eq!(in_force.reload().unwrap().outside.networks().count(), 1);
    let good = in_force.report();
    assert_eq!(good.needs_restart, ["limits.flows", "listen"]);
    assert!(good.since >= begun.since);

    let policies = "policies: {default_ingress: deny, room: {pairs: 2048}}\n";
    fs::write(&path, format!("limits: {{flows: 2048}}\n{policies}")).unwrap();
    in_force.reload().unwrap();
    let good = in_force.report();
    assert_eq!(good.needs_restart, ["policies.room.pairs"]);

    fs::write(&path, "limits:\n  flows: x\n").unwrap();
    assert!(in_force.reload().is_err());
    let bad = in_force.report();
    assert_eq!(bad.since, good.since);
    let problem = bad.problem.unwrap();
    assert!(problem.contains("reload:2:10: `limits.flows`: "), "{problem}");

    fs::write(&path, "limits: {flows: 2048}\n").unwrap();
    in_force.reload().unwrap();
    assert_eq!((in_force.report().problem, in_force.report().needs_restart.len()), (None, 0));
    fs::remove_file(path).unwrap();
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_say_something_harmful(
        text in "\\PC*|.*|(outside|limits|flows|[-:{}\\[\\],&*!|> \n\"'#a0/.]){0,60}",
    ) {
        match parse(&text) {
            Ok(config) => {
                let origins = Origins::new(Path::new(FILE), &text, &Given::default());
                prop_assert_eq!(parse(&config.effective(&origins)).unwrap(), config);
            }
            Err(problem) => {
                prop_assert!(!problem.to_string().contains(|it| it != '\n' && is_hostile(it)));
                prop_assert!(!problem.line().contains(is_hostile));
            }
        }
    }
}
