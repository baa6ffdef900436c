//! What a topology file may hold, and every way it can be wrong.

use super::{Expect, Topology};
use crate::{AttachMode, ErrorKind, Image, Mount, MountSource};
use std::path::Path;

fn parse(text: &str) -> Topology {
    Topology::parse(text, "test").expect("the file is right")
}

/// The error of a wrong file: its kind and its one line.
fn wrong(text: &str) -> (ErrorKind, String) {
    let e = Topology::parse(text, "test").expect_err(text);
    (e.kind(), e.to_string())
}

#[test]
fn the_examples_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("examples") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let t = Topology::load(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(path.file_stem().and_then(|s| s.to_str()), Some(t.name.as_str()));
            seen.push(t.name.to_string());
        }
    }
    assert!(seen.len() >= 3, "{seen:?}");
    let t = Topology::load(&folder.join("two-vlans.yaml")).expect("two-vlans");
    let all: Vec<_> = t
        .workloads
        .iter()
        .map(|w| {
            (w.spec.name.as_str(), w.spec.attachments[0].network.as_str(), w.spec.attachments[0].ips[0].to_string())
        })
        .collect();
    let expected = [("a1", "blue", "11"), ("a2", "blue", "12"), ("b1", "red", "21"), ("b2", "red", "22")];
    assert_eq!(all, expected.map(|(w, n, last)| (w, n, format!("10.100.0.{last}"))));
    assert!(t.workloads.iter().all(|w| w.spec.keep_alive && w.spec.image == Some(Image::Host)));
    assert_eq!(t.networks.iter().map(|n| n.spec.vlan.map(|v| v.get())).collect::<Vec<_>>(), [Some(100), Some(200)]);
}

#[test]
fn every_key_is_understood() {
    let t = parse(
        r#"
name: shop
backend: "local:"
networks:
  front: { vlan: 100, subnets: [10.0.0.0/24, "fd00::/64"], reserved: [10.0.0.1], uplink: eth1, mtu: 1400, labels: { a: b } }
  quiet: { subnet: 10.9.0.0/24, isolated: yes }
  bare:
defaults: { image: host, env: { A: 1, B: 2 }, limits: { memory: 64M }, user: root, restart: no, mounts: [{ tmpfs: 1M, at: /run }] }
workloads:
  web:
    count: 2
    image: archive:images/web.tar
    command: [run, "", "$x"]
    env: { B: 3 }
    cwd: /srv
    labels: { tier: front }
    limits: { cpus: 0.5, pids: 10 }
    tty: true
    mounts: [{ volume: data, at: /data }, { host: /srv, at: /srv, read_only: true }]
    ports: [80, 0.0.0.0:0:53/udp]
    restart: on-failure:3
    networks: [front, quiet]
  db:
    backend: lab
    keep_alive: false
    networks:
      front:
        ips: [10.0.0.5, "fd00::5"]
        mac: 02:00:00:00:00:05
        mtu: 1300
        interface: lan0
        routes: [{ to: 0.0.0.0/0, via: 10.0.0.1 }]
        dns: [10.0.0.1]
        trunk: [100, 200]
  idle:
reach:
  - { from: web, to: db, expect: blocked }
  - { from: web-1, to: web, expect: any }
"#,
    );
    assert_eq!(t.name.as_str(), "shop");
    assert_eq!(t.backend.as_deref(), Some("local:"));
    let names: Vec<_> = t.workloads.iter().map(|w| w.spec.name.as_str()).collect();
    assert_eq!(names, ["web-1", "web-2", "db", "idle"]);
    let web = &t.workloads[1].spec;
    assert_eq!(web.image, Some(Image::Archive("images/web.tar".into())));
    assert_eq!(web.command, ["run", "", "$x"]);
    assert_eq!((web.env["A"].as_str(), web.env["B"].as_str()), ("1", "3"));
    assert_eq!(web.limits.memory, Some(64 << 20));
    assert_eq!((web.limits.cpus, web.limits.pids), (Some(0.5), Some(10)));
    assert!(web.tty && !web.keep_alive, "a command is given");
    let mounts: Vec<_> = web.mounts.iter().map(ToString::to_string).collect();
    assert_eq!(mounts, ["tmpfs of 1.0 MiB at /run", "data at /data", "/srv at /srv, read-only"]);
    let ports: Vec<_> = web.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["127.0.0.1:0:80/tcp", "0.0.0.0:0:53/udp"]);
    assert_eq!(web.restart.to_string(), "on-failure:3");
    assert_eq!(web.user.as_deref(), Some("root"));
    let db = &t.workloads[2];
    assert_eq!(db.backend.as_deref(), Some("lab"));
    assert!(!db.spec.keep_alive && db.spec.restart.is_no() && db.spec.ports.is_empty());
    assert!(matches!(&db.spec.attachments[0].mode, AttachMode::Trunk(v) if v.len() == 2));
    assert!(t.workloads[3].spec.keep_alive, "an idle workload stays");
    assert_eq!(t.workloads[3].spec.image, Some(Image::Host));
    let rules: Vec<_> = t.reach.iter().map(|r| (r.from.as_str(), r.to.as_str(), r.expect)).collect();
    assert_eq!(
        rules,
        [("web-1", "db", Expect::Blocked), ("web-2", "db", Expect::Blocked), ("web-1", "web-2", Expect::Any)]
    );
    assert_eq!((t.workloads[2].place.line(), t.workloads[2].place.column()), (23, 3));
}

#[test]
fn one_that_is_started_again_is_not_kept_alive() {
    let t = parse("workloads: { a: { restart: always }, b: {} }");
    assert!(!t.workloads[0].spec.keep_alive && t.workloads[1].spec.keep_alive);
}

#[test]
fn paths_start_from_the_files_folder() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("lab.yaml");
    let text =
        "workloads: { a: { image: 'rootfs:r', mounts: [{ host: site, at: /srv }] }, b: { image: 'rootfs:/abs' } }";
    std::fs::write(&path, text).expect("write");
    let t = Topology::load(&path).expect("load");
    assert_eq!(t.name.as_str(), "lab");
    assert_eq!(t.workloads[0].spec.image, Some(Image::Rootfs(dir.path().join("r").display().to_string())));
    assert_eq!(t.workloads[1].spec.image, Some(Image::Rootfs("/abs".into())));
    let site = MountSource::Host(dir.path().join("site").display().to_string());
    assert_eq!(t.workloads[0].spec.mounts, [Mount::new(site, "/srv")]);
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("lab.yaml");
    std::fs::write(&path, "workloads:\n  a: { imgae: host }\n").expect("write");
    let e = Topology::load(&path).expect_err("typo");
    assert_eq!(e.to_string(), format!("unknown key `imgae` (place: {}:2:8); did you mean `image`?", path.display()));
    let e = Topology::load(&dir.path().join("none.yaml")).expect_err("absent");
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(e.to_string().contains("none.yaml"), "{e}");
    let e = Topology::parse("workloads: { a: {} }", "bad name").expect_err("name");
    assert!(e.to_string().contains("give the file a `name:`"), "{e}");
}

/// Files that are no topology: the text, and what the error must say.
#[test]
fn what_is_no_topology_is_refused_with_its_place() {
    let table = [
        ("", "holds no network and no workload"),
        ("---", "a mapping is expected here"),
        ("networks: {}", "holds no network and no workload"),
        ("workloads: { a: { imgae: host } }", "unknown key `imgae` (place: line 1, column 19); did you mean `image`?"),
        ("nodes: {}", "unknown key `nodes` (place: line 1, column 1); known: name, backend, networks"),
        ("networks:\n  blue: { vlna: 3 }", "unknown key `vlna` (place: line 2, column 11); did you mean `vlan`?"),
        ("networks:\n  a: {}\n  a: {}", "`a` is given twice (place: line 3, column 3); keep one of the two"),
        ("workloads:\n  a: {}\n  b: {}\n  a: {}", "`a` is given twice (place: line 4, column 3)"),
        ("workloads: { a: { tty: true, tty: true } }", "`tty` is given twice"),
        ("workloads: { a: { networks: { b: {}, b: {} } } }", "`b` is given twice"),
        ("backend: local:\nworkloads: { a: }", "(place: line 1, column 15); put a value that ends in ':'"),
        ("workloads: { a: { command: sleep 5 } }", "a list is expected here (place: line 1, column 28)"),
        (
            "networks: { n: { vlan: 1, uplink: [eth1] } }",
            "an interface, such as eth1, or one for each platform, such as { local: eth1, k8s: eth2 } is expected",
        ),
        ("workloads: [a]", "a mapping is expected here (place: line 1, column 12)"),
        ("workloads: { a: { networks: 5 } }", "a list of networks, such as [blue]"),
        ("workloads: { a: { keep_alive: maybe } }", "that is no true or false (place: line 1, column 31)"),
        ("workloads: { a: { env: { A: ~ } } }", "a value is missing here (place: line 1, column 29)"),
        (
            "workloads: { a: { limits: { cpu: 1 } } }",
            "unknown key `cpu` (place: line 1, column 29); did you mean `cpus`?",
        ),
        ("workloads: { a: {}, b: {} }\nreach: [{ from: a, to: b }]", "the key `expect` is missing"),
        ("workloads: { a: {}, b: {} }\nreach: [{ from: a, to: b, expect: block }]", "unknown word `block`"),
        ("workloads: { a: { mounts: [{ at: /x }] } }", "a mount comes from one of `host`, `volume` and `tmpfs`"),
        ("workloads: { a: { mounts: [{ host: /a, to: /x }] } }", "unknown key `to`"),
        ("workloads: { a: { ports: 80 } }", "a list is expected here"),
        ("workloads: {\n", "(place: line 1, column 12)"),
    ];
    for (text, says) in table {
        let (_, message) = wrong(text);
        assert!(message.contains(says), "{text}\n  says {message}\n  not {says}");
    }
}

/// Values that can't be: the text, in which `§` stands before the place; what the error must say; about
/// what; and the way out.
#[test]
fn values_that_cannot_be_are_refused_with_thing_place_and_way_out() {
    let net = |body: &str| {
        let mark = if body.contains('§') { "" } else { "§" };
        format!("networks:\n  {mark}n: {{ {body} }}\n")
    };
    let on = |body: &str| {
        format!(
            "networks:\n  n: {{ vlan: 5, subnet: 10.0.0.0/29 }}\nworkloads:\n  a: {{ networks: {{ n: {{ {body} }} }} }}\n"
        )
    };
    let one = |body: &str| format!("workloads:\n  a: {{ {body} }}\n");
    let whole = str::to_owned;
    let table = [
        (net("vlan: §4095"), "VLAN id 4095 is out of range", "network: n", "use 1 to 4094"),
        (net("vlan: §-1"), "VLAN id -1 is out of range", "network: n", "use 1 to 4094"),
        (net("vlan: §70000"), "VLAN id 70000 is out of range", "network: n", "use 1 to 4094"),
        (
            net("vlan: 0, uplink: §eth1"),
            "VLAN 0 is untagged, and an uplink needs a tag",
            "uplink: eth1",
            "give the network `vlan: 1`",
        ),
        (net("uplink: §eth1"), "an uplink needs a VLAN id", "uplink: eth1", "give the network `vlan: 1`"),
        (net("uplink: §a/b, vlan: 1"), "bad interface name", "network: n", ""),
        (net("subnet: §10.0.0.0"), "that is no subnet", "network: n", "10.0.0.0/24"),
        (net("subnet: 10.0.0.1/24"), "an address within a subnet", "network: n", "write 10.0.0.0/24"),
        (net("subnet: 10.0.0.0/31"), "too small", "network: n", "prefix length of 30"),
        (net("subnets: [10.0.0.0/24, 10.0.0.128/25]"), "overlap", "network: n", ""),
        (net("subnet: 10.0.0.0/24, reserved: [10.1.0.1]"), "none of its subnets", "network: n", ""),
        (net("subnet: 10.0.0.0/24, reserved: [§10.1]"), "that is no IP address", "network: n", "10.0.0.5"),
        (net("subnet: 10.0.0.0/24, mtu: 20"), "MTU 20 is out of range", "network: n", "use 68 to 65535"),
        (net("subnet: 'fd00::/64', mtu: 1000"), "IPv6 needs an MTU of 1280", "network: n", ""),
        (net("labels: { §pod.owner: x }"), "POD's own", "network: n", ""),
        (whole("networks: { §'a b': {} }"), "bad network name", "network: a b", "1 to 63"),
        (on("ip: §10.0.1.1"), "10.0.1.1 is outside the network's subnets", "workload: a", "within 10.0.0.0/29"),
        (on("ip: §10.0.0.0"), "the subnet's own address", "workload: a", ""),
        (on("ip: §10.0.0.7"), "the subnet's broadcast address", "workload: a", ""),
        (on("ip: §10.0.0.5/29"), "that is no IP address", "workload: a", "leave the prefix length out: 10.0.0.5"),
        (on("ips: [10.0.0.1, §10.0.0.1]"), "10.0.0.1 is used twice", "workload: a", ""),
        (on("mac: §'01:00:00:00:00:01'"), "multicast MAC", "workload: a", "clear the lowest bit"),
        (on("mtu: §1"), "MTU 1 is out of range", "workload: a", "use 68 to 65535"),
        (on("mtu: 9000").replace("{ n: { m", "{ §n: { m"), "above the network's, 1500", "workload: a", "lower it"),
        (on("interface: §sixteen-bytes-xx"), "at most 15 bytes", "workload: a", ""),
        (on("trunk: [§0]"), "VLAN 0 is untagged", "workload: a", "use 1 to 4094"),
        (on("trunk: [§4095]"), "VLAN id 4095 is out of range", "workload: a", "use 1 to 4094"),
        (on("trunk: [7, §7]"), "VLAN 7 is given twice", "workload: a", ""),
        (on("trunk: []").replace("{ n: { t", "{ §n: { t"), "at least one VLAN", "workload: a", "trunk: [100, 200]"),
        (on("dns: [§x]"), "that is no IP address", "workload: a", ""),
        (one("ports: [§x]"), "that is no port to publish", "workload: a", "write 80, 8080:80"),
        (one("count: 2, ports: [§8080:80]"), "several workloads at once", "workload: a", "a free one: 80/tcp"),
        (one("restart: §never"), "that is no restart policy", "workload: a", "on-failure:3"),
        (one("mounts: [§{ host: rel, at: /x }]"), "the path on the host is not absolute", "workload: a", ""),
        (one("mounts: [§{ tmpfs: 1M, at: x }]"), "the path inside is not absolute", "workload: a", ""),
        (
            one("keep_alive: true, restart: always").replace("  a:", "  §a:"),
            "does not start it again",
            "workload: a",
            "leave keep-alive out",
        ),
        (on("routes: [§{ to: 10.9.0.1/24 }]"), "not a subnet", "workload: a", "write 10.9.0.0/24"),
        (
            on("routes: [{ to: 10.9.0.0/24, via: 10.5.0.1 }]").replace("{ n: { r", "{ §n: { r"),
            "10.5.0.1 of the route to 10.9.0.0/24 is outside the network's subnets",
            "workload: a",
            "",
        ),
        (
            on("ip: 10.0.0.3, routes: [{ to: 10.9.0.0/24, via: 10.0.0.3 }]").replace("{ n: { i", "{ §n: { i"),
            "is the workload's own address",
            "workload: a",
            "",
        ),
        (
            on("routes: [{ to: 10.9.0.0/24 }, { to: 10.9.0.0/24 }]").replace("{ n: { r", "{ §n: { r"),
            "the route to 10.9.0.0/24 is given twice",
            "workload: a",
            "",
        ),
        (
            on("trunk: [6], ip: 10.0.0.3").replace("{ n: { t", "{ §n: { t"),
            "the trunk does not carry the network's own VLAN 5",
            "workload: a",
            "add 5 to the trunk",
        ),
        (on("interface: lo").replace("{ n: { i", "{ §n: { i"), "loopback", "workload: a", "another interface name"),
        (
            on("routes: [{ to: 'fd00::/64', via: 10.0.0.3 }]").replace("{ n: { r", "{ §n: { r"),
            "of two address families",
            "workload: a",
            "",
        ),
        (
            whole("networks: { n: {} }\nworkloads: { a: { networks: { §n: { trunk: [5] } } } }"),
            "this network is untagged",
            "workload: a",
            "give the network `vlan: 1`",
        ),
        (
            whole("networks: { blue: {} }\nworkloads: { a: { networks: [§bleu] } }"),
            "no network of the topology has this name",
            "network: bleu",
            "did you mean `blue`?",
        ),
        (
            whole("networks: { n: {} }\nworkloads: { a: { networks: [n, §n] } }"),
            "on this network twice",
            "workload: a",
            "",
        ),
        (
            whole(
                "networks: { m: {}, n: {} }\nworkloads: { a: { networks: { m: { interface: e }, §n: { interface: e } } } }",
            ),
            "two of its interfaces are named e",
            "workload: a",
            "",
        ),
        (
            whole(
                "networks: { n: { subnet: 10.0.0.0/24, reserved: [10.0.0.1] } }\n\
                 workloads: { a: { networks: { n: { ip: §10.0.0.1 } } } }",
            ),
            "10.0.0.1 is reserved",
            "workload: a",
            "",
        ),
        (
            whole("networks: { n: {} }\nworkloads: { a: { networks: { n: { ip: §10.0.0.1 } } } }"),
            "outside the network's subnets",
            "workload: a",
            "the network has no subnet",
        ),
        (net("vlan: 1, uplink: { docker: §a/b }"), "bad interface name", "network: n", ""),
        (net("uplink: §{ docker: eth1, k8s: eth2 }"), "an uplink needs a VLAN id", "uplink: eth1, eth2", "give the"),
        (
            whole("networks: { a: { vlan: 5, uplink: { docker: eth1, k8s: eth2 } }, §b: { vlan: 5, uplink: eth2 } }"),
            "VLAN 5 on eth2: on the wire they are one",
            "networks: a, b",
            "another VLAN id",
        ),
        (
            whole("networks: { a: { vlan: 5, uplink: eth1 }, §b: { vlan: 5, uplink: eth1 } }"),
            "on the wire they are one",
            "networks: a, b",
            "another VLAN id",
        ),
        (whole("workloads: { a: { image: §'' } }"), "that is no image", "workload: a", "rootfs:DIR"),
        (whole("workloads: { a: { image: §'rootfs:' } }"), "names no directory", "workload: a", ""),
        (whole("workloads: { §a: { cwd: srv } }"), "not absolute", "workload: a", ""),
        (whole("workloads: { a: { env: { §'A=B': 1 } } }"), "bad environment variable", "workload: a", ""),
        (whole("workloads: { §a: { limits: { memory: 1 } } }"), "4 MiB or more", "workload: a", ""),
        (whole("workloads: { a: { count: §0 } }"), "a count is from 1", "workload: a", ""),
        (whole("workloads: { w: { count: 2 }, §w-2: {} }"), "two workloads have the same name", "workload: w-2", ""),
        (
            whole("workloads: { a: {}, b: {} }\nreach: [{ from: a, to: §c, expect: any }]"),
            "no workload of the topology",
            "workload: c",
            "",
        ),
        (
            whole("workloads: { a: {} }\nreach: [§{ from: a, to: a, expect: any }]"),
            "is not measured",
            "workload: a",
            "",
        ),
    ];
    for (marked, says, about, way_out) in table {
        let at = marked.find('§').expect("a mark");
        let line = marked[..at].matches('\n').count() + 1;
        let column = marked[..at].chars().rev().take_while(|c| *c != '\n').count() + 1;
        let place = format!("place: line {line}, column {column}");
        let text = marked.replace('§', "");
        let (kind, message) = wrong(&text);
        assert_eq!(kind, ErrorKind::InvalidInput, "{text}: {message}");
        for part in [says, about, place.as_str(), way_out] {
            assert!(message.contains(part), "{text}\n  says {message}\n  not {part}");
        }
    }
}

#[test]
fn an_address_used_twice_in_one_network_is_refused_but_not_in_two() {
    let two = |second: &str| {
        format!(
            "networks: {{ blue: {{ vlan: 1, subnet: 10.0.0.0/24 }}, red: {{ vlan: 2, subnet: 10.0.0.0/24 }} }}\n\
             workloads:\n  a: {{ networks: {{ blue: {{ ip: 10.0.0.5, mac: '02:00:00:00:00:01' }} }} }}\n  \
             b: {{ networks: {{ {second}: {{ ip: 10.0.0.5, mac: '02:00:00:00:00:01' }} }} }}\n"
        )
    };
    parse(&two("red"));
    let (_, message) = wrong(&two("blue"));
    assert_eq!(
        message,
        "the address 10.0.0.5 is used twice in this network (network: blue, first: line 3, column 32, \
         place: line 4, column 32, workload: b)"
    );
    let (_, message) = wrong(&two("blue").replace("ip: 10.0.0.5, ", ""));
    assert!(message.contains("the MAC address 02:00:00:00:00:01 is used twice"), "{message}");
}

#[test]
fn copies_share_no_address() {
    let (_, message) = wrong(
        "networks: { n: { subnet: 10.0.0.0/24 } }\nworkloads: { a: { count: 2, networks: { n: { ip: 10.0.0.5 } } } }",
    );
    assert!(message.contains("can't be given to several workloads"), "{message}");
    parse(
        "networks: { n: { subnet: 10.0.0.0/24 } }\nworkloads: { a: { count: 1, networks: { n: { ip: 10.0.0.5 } } } }",
    );
}

#[test]
fn a_subnet_must_hold_its_workloads() {
    let text = |n: u32| {
        format!(
            "networks:\n  n: {{ subnet: 10.0.0.0/29, reserved: [10.0.0.1] }}\nworkloads: {{ w: {{ count: {n}, networks: [n] }} }}"
        )
    };
    parse(&text(5));
    let (kind, message) = wrong(&text(6));
    assert_eq!(kind, ErrorKind::Exhausted);
    assert_eq!(
        message,
        "the subnet 10.0.0.0/29 is too small for the workloads on it (network: n, workloads: 6, addresses: 5, \
         place: line 2, column 3); use a shorter prefix length, or fewer workloads"
    );
}
