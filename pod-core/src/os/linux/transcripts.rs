//! Tests of the plans' readers with transcripts, and with anything at all.

use super::Linux;
use crate::copy::FileType;
use crate::os::testing::{fixture, printed};
use crate::os::{Interface, LinkKind, LinkState, OsDialect, ProcessState, RouteKind};
use crate::{ErrorKind, Output, Result};
use proptest::prelude::*;

pub(super) fn dialect(facts: &str) -> Linux {
    Linux::new(Linux::detect().read(&[printed(fixture(facts))]).expect("the facts are read"))
}

fn debian() -> Linux {
    dialect("detect-debian.txt")
}

fn busybox() -> Linux {
    dialect("detect-busybox.txt")
}

fn interfaces(d: &Linux, out: Vec<u8>) -> Result<Vec<Interface>> {
    d.interfaces().and_then(|p| p.read(&[printed(out)]))
}

fn of<'a>(all: &'a [Interface], name: &str) -> &'a Interface {
    all.iter().find(|i| i.name == name).expect("the interface is there")
}

/// What a transcript holds without some of its sections: what a poorer image would print.
fn without(transcript: &[u8], names: &[&str]) -> Vec<u8> {
    let mut parts = transcript.split(|b| *b == 0);
    let mut out = parts.next().unwrap_or_default().to_vec();
    while let (Some(name), Some(body)) = (parts.next(), parts.next()) {
        out.extend([&b"\0"[..], name, b"\0"].concat());
        if !names.iter().any(|n| n.as_bytes() == name) {
            out.extend_from_slice(body);
        }
    }
    out
}

#[test]
fn interfaces_by_json() {
    let all = interfaces(&debian(), fixture("interfaces-debian.txt")).expect("read");
    let names: Vec<_> = all.iter().map(|i| (i.name.as_str(), i.kind.as_str())).collect();
    assert_eq!(
        names,
        [
            ("lo", "loopback"),
            ("peer0", "veth"),
            ("eth0", "veth"),
            ("br0", "bridge"),
            ("mv0", "macvlan"),
            ("vx0", "vxlan"),
            ("eth1", "veth")
        ]
    );
    let eth0 = of(&all, "eth0");
    assert_eq!(eth0.mac.map(|m| m.to_string()).as_deref(), Some("02:00:00:00:00:01"));
    let addresses: Vec<_> = eth0.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.1.2.3/24", "192.168.7.1/32", "10.1.2.4/24", "fd00::3/64", "fe80::ff:fe00:1/64"]);
    assert_eq!((eth0.mtu, eth0.up, eth0.state, eth0.index), (Some(1500), true, LinkState::Up, Some(3)));
    assert_eq!((eth0.vlan, eth0.parent.as_deref()), (None, None), "a cable's other end is no parent");
    assert_eq!(of(&all, "peer0").master.as_deref(), Some("br0"));
    assert_eq!(of(&all, "mv0").parent.as_deref(), Some("eth0"));
    assert_eq!(of(&all, "vx0").vlan, None, "a VNI is no VLAN id");
    assert_eq!((of(&all, "lo").mac, of(&all, "lo").mtu), (None, Some(65536)));
}

#[test]
fn vlans_by_json() {
    let mut out = b"\0json\0".to_vec();
    out.extend(fixture("interfaces-vlan.json"));
    let all = interfaces(&debian(), out).expect("read");
    assert_eq!(all.len(), 3, "an empty object is no interface");
    let vlan = of(&all, "eth0.100");
    assert_eq!((vlan.vlan.map(u16::from), vlan.parent.as_deref()), (Some(100), Some("eth0")));
    assert_eq!((&vlan.kind, vlan.mtu), (&LinkKind::Vlan, Some(1496)));
    assert_eq!(of(&all, "eth0").kind, LinkKind::Ethernet);
    let moved = of(&all, "vlan7");
    assert_eq!((moved.vlan.map(u16::from), moved.parent.as_deref()), (Some(7), None), "its parent is elsewhere");
    assert_eq!(moved.state, LinkState::LowerLayerDown);
}

#[test]
fn vlans_by_text_and_by_proc() {
    let all = interfaces(&debian(), fixture("interfaces-vlan.txt")).expect("read");
    let vlan = of(&all, "eth0.100");
    assert_eq!((vlan.vlan.map(u16::from), vlan.parent.as_deref()), (Some(100), Some("eth0")));
    let cable = of(&all, "eth1");
    assert_eq!((&cable.kind, cable.parent.as_deref()), (&LinkKind::Veth, None));

    let all = interfaces(&busybox(), fixture("interfaces-vlan-busybox.txt")).expect("read");
    let vlan = of(&all, "up100");
    assert_eq!((vlan.vlan.map(u16::from), vlan.parent.as_deref()), (Some(100), Some("eth0")));
    assert_eq!((&vlan.kind, vlan.state), (&LinkKind::Vlan, LinkState::LowerLayerDown));
    let eth0 = of(&all, "eth0");
    assert_eq!((eth0.index, eth0.mtu), (Some(2), Some(1500)), "another namespace's /sys is not believed");
}

#[test]
fn interfaces_by_busybox_are_the_same_as_by_json() {
    let json = interfaces(&debian(), fixture("interfaces-debian.txt")).expect("read");
    let text = interfaces(&busybox(), fixture("interfaces-busybox.txt")).expect("read");
    assert_eq!(text.len(), json.len());
    for (t, j) in text.iter().zip(&json) {
        // /sys doesn't tell a macvlan from other links that stand on one.
        let t = Interface { kind: if t.name == "mv0" { LinkKind::Macvlan } else { t.kind.clone() }, ..t.clone() };
        assert_eq!(&t, j);
    }
}

#[test]
fn interfaces_by_ifconfig_and_by_proc_alone() {
    let whole = fixture("interfaces-busybox.txt");
    let text = interfaces(&busybox(), whole.clone()).expect("read");

    let ifconfig = interfaces(&busybox(), without(&whole, &["text"])).expect("read");
    for (i, t) in ifconfig.iter().zip(&text) {
        // ifconfig shows one IPv4 address of several.
        let addresses = t.addresses.iter().filter(|a| i.addresses.contains(a)).copied().collect();
        assert_eq!(i, &Interface { addresses, ..t.clone() });
        assert_eq!(i.addresses.is_empty(), t.addresses.is_empty());
    }
    let bare = interfaces(&busybox(), without(&whole, &["text", "sys"])).expect("read");
    assert_eq!(of(&bare, "eth0").mac, of(&text, "eth0").mac);
    assert_eq!(of(&bare, "eth0").state, LinkState::Up);

    let proc = interfaces(&busybox(), without(&whole, &["text", "ifconfig"])).expect("read");
    for (p, t) in proc.iter().zip(&text) {
        let sorted = |i: &Interface| {
            let mut a = i.addresses.clone();
            a.sort_unstable();
            a
        };
        assert_eq!(sorted(p), sorted(t), "{}", t.name);
        assert_eq!(Interface { addresses: Vec::new(), ..p.clone() }, Interface { addresses: Vec::new(), ..t.clone() });
    }
    let least = interfaces(&busybox(), without(&whole, &["text", "ifconfig", "sys"])).expect("read");
    assert_eq!((of(&least, "eth0").mtu, of(&least, "lo").addresses.len()), (None, 2));
}

#[test]
fn routes_by_json_text_and_proc() {
    let read = |d: &Linux, out: Vec<u8>| d.routes().and_then(|p| p.read(&[printed(out)])).expect("read");
    let json = read(&debian(), fixture("routes-debian.txt"));
    let shown: Vec<String> = json
        .iter()
        .map(|r| {
            let via = r.via.map_or("-".into(), |v| v.to_string());
            format!("{} {} {} {} {}", r.kind, r.to, via, r.interface.as_deref().unwrap_or("-"), r.metric)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "unicast 0.0.0.0/0 10.1.2.1 eth0 0",
            "unicast 10.1.2.0/24 - eth0 0",
            "unicast 10.7.0.0/16 10.1.2.8 eth0 0",
            "unicast 10.7.0.0/16 10.1.2.9 eth0 0",
            "unicast 10.8.0.0/16 - eth0 50",
            "blackhole 10.9.0.0/16 - - 0",
            "unreachable 10.10.0.0/16 - - 0",
            "unicast 192.168.7.2/32 - eth0 0",
            "unicast fd00::/64 - eth0 256",
            "blackhole fd09::/64 - lo 1024",
            "unicast fe80::/64 - peer0 256",
            "unicast fe80::/64 - eth0 256",
            "unicast ::/0 fd00::1 eth0 1024",
        ]
    );
    assert!(json[0].is_default() && !json[1].is_default());
    assert_eq!(json[1].source.map(|s| s.to_string()).as_deref(), Some("10.1.2.3"));

    // BusyBox prints a route with several next hops without them.
    let mut expected = json.clone();
    expected.remove(3);
    (expected[2].via, expected[2].interface) = (None, None);
    assert_eq!(read(&busybox(), fixture("routes-busybox.txt")), expected);
}

#[test]
fn routes_by_proc_alone() {
    let interfaces = fixture("interfaces-busybox.txt");
    let route = crate::os::script::Sections::parse(&interfaces).and_then(|s| s.text("route")).expect("a section");
    let proc6 = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
        fd000000000000000000000000000003 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001     eth0\n\
        ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
    let out = format!("\0proc4\0{route}\0proc6\0{proc6}");
    let all = busybox().routes().and_then(|p| p.read(&[printed(out.into_bytes())])).expect("read");
    let shown: Vec<_> = all.iter().map(|r| (r.to.to_string(), r.via.map(|v| v.to_string()), r.kind)).collect();
    let row = |to: &str, via: Option<&str>, kind| (to.to_owned(), via.map(str::to_owned), kind);
    assert_eq!(
        shown,
        [
            row("0.0.0.0/0", Some("10.1.2.1"), RouteKind::Unicast),
            row("10.1.2.0/24", None, RouteKind::Unicast),
            row("10.7.0.0/16", Some("10.1.2.8"), RouteKind::Unicast),
            row("10.8.0.0/16", None, RouteKind::Unicast),
            row("10.9.0.0/16", None, RouteKind::Blackhole),
            row("10.10.0.0/16", None, RouteKind::Unreachable),
            row("192.168.7.2/32", None, RouteKind::Unicast),
            row("fd00::/64", None, RouteKind::Unicast),
            row("::/0", Some("fd00::1"), RouteKind::Unicast),
        ]
    );
}

#[test]
fn next_hops_of_another_family() {
    let text = "10.0.0.0/8 via inet6 fe80::1 dev eth0 \ndefault proto static metric 5 \n\tnexthop via 10.0.0.1 dev a weight 1 \n\tnexthop dev b weight 1 \n";
    let out = format!("\0text4\0{text}\0text6\0");
    let all = debian().routes().and_then(|p| p.read(&[printed(out.into_bytes())])).expect("read");
    assert_eq!(all[0].via.map(|v| v.to_string()).as_deref(), Some("fe80::1"));
    assert_eq!((all.len(), all[1].metric, all[2].interface.as_deref()), (3, 5, Some("b")));
}

#[test]
fn processes_are_read_in_both_framings() {
    for (facts, name) in
        [("detect-debian.txt", "processes-debian.txt"), ("detect-busybox.txt", "processes-busybox.txt")]
    {
        let plan = dialect(facts).processes().expect("a plan");
        let all = plan.read(&[printed(fixture(name))]).expect("read");
        let pids: Vec<_> = all.iter().map(|p| (p.pid, p.ppid, p.name.as_str())).collect();
        assert_eq!(
            pids,
            [(1, 0, "bash"), (3, 1, "sleep"), (4, 1, "sh"), (6, 1, "probe")],
            "the probe's shell is left out"
        );
        assert_eq!(all[1].args, ["sleep", "1000"]);
        assert_eq!((all[1].uid, all[1].rss, all[1].state), (65534, 1804 << 10, ProcessState::Sleeping));
        assert_eq!(all[2].args, ["odd name", "-c", "read x </dev/zero", "two words", "line\nend", ""]);
        assert_eq!(all[2].state, ProcessState::Running);
        assert_eq!(all[0].user, "root");
    }
}

#[test]
fn a_process_can_t_pass_for_another() {
    let out = b"\0self\09\n\0passwd\0\0status\0/proc/5/status:Name:\tx\\n/proc/6/status:Uid:\t0\n/proc/5/status:Uid:\t7\t7\t7\t7\n\0grep\0\0args\0/proc/5/cmdline:a\n/proc/5/cmdline:/proc/6/cmdline:b\x01\n";
    let all = debian().processes().and_then(|p| p.read(&[printed(out.to_vec())])).expect("read");
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].user.as_str(), all[0].args.as_slice()), ("7", &["a\n/proc/6/cmdline:b".to_owned()][..]));
}

#[test]
fn folders_are_listed() {
    for (facts, name) in [("detect-debian.txt", "list-debian.txt"), ("detect-busybox.txt", "list-busybox.txt")] {
        let plan = dialect(facts).list_dir(b"/x").expect("a plan");
        let all = plan.read(&[printed(fixture(name))]).expect("read");
        let names: Vec<&[u8]> = all.iter().map(|e| e.name.as_bytes()).collect();
        assert_eq!(names, [&b"a link"[..], b"dir", b"line\nend", b"pipe", b"plain", b"\xff\xfe"]);
        assert_eq!(all[0].target.as_ref().map(|t| t.as_bytes()), Some(&b"plain\n//x"[..]));
        assert_eq!((all[1].kind, all[3].kind, all[4].kind), (FileType::Dir, FileType::Other, FileType::File));
        assert_eq!((all[4].size, all[4].mode, all[4].mtime), (5, 0o4755, (1_709_210_096, 789)));
    }
}

#[test]
fn a_folder_that_changes_meanwhile_is_listed_and_a_broken_one_is_not() {
    let read = |stderr: &str| {
        let stdout = b"\0list\0\0code\x001\n\0links\0".to_vec();
        let output = Output { stderr: stderr.as_bytes().to_vec(), ..printed(stdout) };
        debian().list_dir(b"/x").and_then(|p| p.read(&[output])).map(|l| l.len()).map_err(|e| e.kind())
    };
    assert_eq!(read("stat: cannot statx './gone': No such file or directory\n"), Ok(0));
    assert_eq!(read("stat: cannot statx './x': Input/output error\n"), Err(ErrorKind::CommandFailed));
}

#[test]
fn disks_memory_and_processors() {
    for name in ["disks-debian.txt", "disks-busybox.txt"] {
        let disks = debian().disks().and_then(|p| p.read(&[printed(fixture(name))])).expect("read");
        let mount = if name.contains("debian") { "/" } else { "/tmp" };
        let disk = disks.iter().find(|d| &d.mount == mount).expect("it is there");
        assert_eq!((disk.total, disk.file_system.as_str()), (66_053_021 * 4096, "ext4"));
        assert!(disk.used + disk.available <= disk.total && !disk.read_only);
        assert_eq!(disks.iter().filter(|d| &d.mount == "/dev/shm").count(), 1, "the upper mount hides the lower");
    }
    let odd = b"mount /dev/a\\040b /mnt/x\\012y\\134z ext4 rw,ro\nstat 512 10 4 3 2 1\nmount gone /gone nfs rw\n";
    let disks = debian().disks().and_then(|p| p.read(&[printed(odd.to_vec())])).expect("read");
    assert_eq!(
        (disks.len(), disks[0].mount.as_bytes(), disks[0].source.as_bytes()),
        (1, &b"/mnt/x\ny\\z"[..], &b"/dev/a b"[..])
    );
    assert_eq!((disks[0].total, disks[0].used, disks[0].available, disks[0].read_only), (5120, 3072, 1536, true));

    let memory = debian().memory().and_then(|p| p.read(&[printed(fixture("memory-debian.txt"))])).expect("read");
    assert_eq!((memory.total, memory.swap_total, memory.limit), (24_684_084 << 10, 0, None));
    let cpu = debian().cpu().and_then(|p| p.read(&[printed(fixture("cpu-debian.txt"))])).expect("read");
    assert_eq!((cpu.count, cpu.model.as_str(), cpu.limit), (2, "AMD EPYC", None));
}

#[test]
fn limits_of_any_cgroup_above_count() {
    let memory = |v2: &str, v1: &str| {
        let out = format!("\0info\0MemTotal: 1000 kB\nMemFree: 500 kB\nCached: 100 kB\n\0v2\0{v2}\0v1\0{v1}");
        debian().memory().and_then(|p| p.read(&[printed(out.into_bytes())])).expect("read")
    };
    let m = memory("max 5000 \n300000 100000 \n400000 200000 \n- - \n", "- - ");
    assert_eq!((m.limit, m.used, m.available), (Some(300_000), Some(100_000), 600 << 10));
    let m = memory("max 5000 \nmax 7000 \n- - \n", "- - ");
    assert_eq!((m.limit, m.used), (None, Some(7000)));
    let m = memory("- - \n", "9223372036854771712 42 ");
    assert_eq!((m.limit, m.used), (None, Some(42)));
    let cpu = |v2: &str, v1: &str| {
        let out = format!("\0info\0processor\t: 0\nprocessor : 1\n\0online\0\0stat\0\0v2\0{v2}\0v1\0{v1}");
        debian().cpu().and_then(|p| p.read(&[printed(out.into_bytes())])).expect("read")
    };
    assert_eq!(cpu("max 100000 \n150000 100000 \n- \n", "- - ").limit, Some(1.5));
    assert_eq!(cpu("- \n", "-1 100000 ").limit, None);
    assert_eq!((cpu("- \n", "50000 100000 ").limit, cpu("- \n", "- - ").count), (Some(0.5), 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn anything_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        words in proptest::collection::vec("[0-9a-f]{1,8}|eth0|inet|inet6|via|dev|nexthop|default|/|//|\\.|:|\\||\n| |1: a: <UP> mtu|addr:1\\.2\\.3\\.4|Mask:3\\.3|\\|-- 1\\.2\\.3\\.4|/32 host LOCAL", 0..60),
    ) {
        let text = words.join(" ");
        let d = debian();
        let sections = ["json", "text", "ifconfig", "dev", "inet6", "trie", "route", "vlan", "sys", "json4", "json6",
            "text4", "text6", "proc4", "proc6", "self", "passwd", "status", "info", "online", "stat", "v1", "v2",
            "list", "code", "links", "args", "target"];
        let with = |from: &str| {
            let from = sections.iter().skip_while(|s| **s != from);
            from.flat_map(|name| [&b"\0"[..], name.as_bytes(), b"\0", text.as_bytes()].concat()).collect::<Vec<u8>>()
        };
        let mut all: Vec<Vec<u8>> = ["json", "text", "ifconfig", "dev", "json4", "text4", "proc4"].map(with).to_vec();
        all.push(bytes);
        for out in all {
            let out = [printed(out)];
            let _ = d.interfaces().and_then(|p| p.read(&out));
            let _ = d.routes().and_then(|p| p.read(&out));
            let _ = d.processes().and_then(|p| p.read(&out));
            let _ = d.disks().and_then(|p| p.read(&out));
            let _ = d.memory().and_then(|p| p.read(&out));
            let _ = d.cpu().and_then(|p| p.read(&out));
            let _ = d.list_dir(b"/").and_then(|p| p.read(&out));
            let _ = d.stat(b"/", false).and_then(|p| p.read(&out));
        }
    }
}
