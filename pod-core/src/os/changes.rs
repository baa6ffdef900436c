//! The operations that change a system, each in a sandbox of its own; most need root.

use crate::os::sandbox::{Sandbox, both, gnu, may_change, there};
use crate::os::{
    InitSystem, Interface, LinkState, Linux, NetworkConfig, NewUser, Os, Password, Removed, ServiceAction,
    ServiceOutcome, ServiceState,
};
use crate::{ErrorKind, IfName, VlanId};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

fn name(n: &str) -> IfName {
    IfName::new(n).expect("a good name")
}

fn config(n: &str) -> NetworkConfig {
    NetworkConfig::new(name(n))
}

fn ip(a: &str) -> IpAddr {
    a.parse().expect("an address")
}

fn shown(i: &Interface) -> Vec<String> {
    let mut all: Vec<_> = i.addresses.iter().map(ToString::to_string).filter(|a| !a.starts_with("fe80")).collect();
    all.sort();
    all
}

async fn state(os: &Os) -> (Vec<Interface>, Vec<crate::os::RouteEntry>, Option<Vec<u8>>) {
    let mut interfaces = os.interfaces().await.expect("read");
    for i in &mut interfaces {
        i.state = LinkState::Unknown; // the kernel tells it a moment later
        i.addresses.retain(|a| !a.to_string().starts_with("fe80")); // the kernel's own
        i.addresses.sort_unstable();
    }
    let routes =
        os.routes().await.expect("read").into_iter().filter(|r| !r.to.to_string().starts_with("fe80")).collect();
    (interfaces, routes, os.read_file("/etc/resolv.conf").await.ok())
}

fn wire(s: &Sandbox) {
    s.run(&["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far"]);
    s.run(&["ip", "link", "set", "dev", "far", "up"]);
}

#[tokio::test]
async fn the_network_is_configured_and_read_back() {
    if !may_change() {
        return;
    }
    for s in both().await {
        wire(&s);
        let os = &s.os;
        std::fs::write(s.path("etc/resolv.conf"), "# mine\noptions ndots:2\nnameserver 192.0.2.1\n").expect("written");
        let full = config("eth0")
            .with_address("10.1.2.3/24".parse().expect("a net"))
            .with_address("fd00::3/64".parse().expect("a net"))
            .with_gateway(ip("10.1.2.1"))
            .with_gateway(ip("fd00::1"))
            .with_mtu(1400)
            .with_dns(ip("10.1.2.53"))
            .with_search("example.org");
        let report = os.configure_network(&full).await.expect("configured");
        assert_eq!(shown(&report.interface), ["10.1.2.3/24", "fd00::3/64"]);
        assert_eq!((report.interface.mtu, report.interface.up, report.created), (Some(1400), true, false));
        assert_eq!(report.kept_by, None);
        let routes = os.routes().await.expect("read");
        let gateways: Vec<_> = routes.iter().filter(|r| r.is_default()).filter_map(|r| r.via).collect();
        assert_eq!(gateways, [ip("10.1.2.1"), ip("fd00::1")]);
        let conf = std::fs::read_to_string(s.path("etc/resolv.conf")).expect("read");
        assert_eq!(conf, "# mine\noptions ndots:2\nsearch example.org\nnameserver 10.1.2.53\n");

        let before = state(os).await;
        os.configure_network(&full).await.expect("twice is the same");
        assert_eq!(state(os).await, before);

        // More is added, unless it is to be exact.
        let more = config("eth0").with_address("10.1.2.4/24".parse().expect("a net"));
        let report = os.configure_network(&more).await.expect("configured");
        assert_eq!(shown(&report.interface), ["10.1.2.3/24", "10.1.2.4/24", "fd00::3/64"]);
        let report = os.configure_network(&more.clone().with_exact(true)).await.expect("configured");
        assert_eq!(shown(&report.interface), ["10.1.2.4/24"]);
        let gateway = |r: &crate::os::RouteEntry| r.is_default() && r.via == Some(ip("10.1.2.1"));
        assert!(os.routes().await.expect("read").iter().any(gateway), "the gateway that is still reached stays");
    }
}

#[tokio::test]
async fn a_failed_configuration_is_undone() {
    if !may_change() {
        return;
    }
    for s in both().await {
        wire(&s);
        let os = &s.os;
        s.run(&["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far1"]);
        s.run(&["ip", "address", "add", "10.9.0.2/24", "dev", "eth1"]);
        s.run(&["ip", "link", "set", "dev", "eth1", "up"]);
        s.run(&["ip", "route", "add", "default", "via", "10.9.0.1", "dev", "eth1"]);
        std::fs::write(s.path("etc/resolv.conf"), "nameserver 192.0.2.1\n").expect("written");
        let before = state(os).await;
        // The IPv4 gateway takes the place of the old one before the IPv6 one is refused.
        let bad = config("eth0")
            .with_address("10.1.2.3/24".parse().expect("a net"))
            .with_gateway(ip("10.1.2.1"))
            .with_gateway(ip("fd77::1"))
            .with_mtu(1400);
        let error = os.configure_network(&bad).await.expect_err("the gateway is on no network");
        assert!(error.context().iter().all(|(k, _)| *k != "not_undone"), "{error}");
        assert_eq!(state(os).await, before, "{error}");

        let kind = |e: crate::Error| e.kind();
        assert_eq!(os.configure_network(&config("nope")).await.map_err(kind), Err(ErrorKind::NotFound));
        let id = VlanId::try_from(7).expect("an id");
        let on = |n: &str, parent: &str| config(n).with_vlan(name(parent), id);
        assert_eq!(os.configure_network(&on("eth0", "eth1")).await.map_err(kind), Err(ErrorKind::Conflict));
        assert_eq!(os.configure_network(&on("eth0.7", "nope")).await.map_err(kind), Err(ErrorKind::NotFound));
        let kept = config("eth0").with_persist(true);
        assert_eq!(os.configure_network(&kept).await.map_err(kind), Err(ErrorKind::Unsupported));
        assert_eq!(state(os).await, before);
    }
}

#[tokio::test]
async fn a_vlan_sub_interface_is_made_or_the_kernel_is_blamed() {
    if !may_change() {
        return;
    }
    for s in both().await {
        wire(&s);
        let before = state(&s.os).await;
        let wanted = config("eth0.100")
            .with_vlan(name("eth0"), VlanId::try_from(100).expect("an id"))
            .with_address("10.100.0.11/24".parse().expect("a net"));
        match s.os.configure_network(&wanted).await {
            Ok(report) => {
                assert!(report.created);
                assert_eq!(report.interface.vlan.map(u16::from), Some(100));
                assert_eq!(report.interface.parent.as_deref(), Some("eth0"));
                let again = s.os.configure_network(&wanted).await.expect("twice is the same");
                assert!(!again.created);
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
                assert!(e.message().contains("CONFIG_VLAN_8021Q"), "{e}");
                assert_eq!(state(&s.os).await, before);
            }
        }
    }
}

#[tokio::test]
async fn both_dialects_read_the_same_network() {
    if !may_change() {
        return;
    }
    let (Some(a), all) = (gnu().await, both().await) else { return };
    let mut seen = Vec::new();
    for s in all.iter().chain([&a]) {
        s.run(&[
            "ip",
            "link",
            "add",
            "eth0",
            "address",
            "02:00:00:00:00:01",
            "type",
            "veth",
            "peer",
            "name",
            "far",
            "address",
            "02:00:00:00:00:02",
        ]);
        s.run(&["ip", "link", "set", "dev", "eth0", "up"]);
        s.run(&["ip", "link", "set", "dev", "far", "up"]);
        s.run(&["ip", "address", "add", "10.0.0.5/24", "dev", "eth0"]);
        s.run(&["ip", "address", "add", "fd00::5/64", "dev", "eth0", "nodad"]);
        s.run(&["ip", "route", "add", "default", "via", "10.0.0.1"]);
        s.run(&["ip", "route", "add", "blackhole", "10.9.0.0/16"]);
        let mut interfaces = s.os.interfaces().await.expect("read");
        // The kernel makes some links by itself in every namespace; nothing but `ip -d` tells their kind.
        interfaces.retain(|i| ["lo", "eth0", "far"].contains(&i.name.as_str()));
        for i in &mut interfaces {
            // What the kernel does by itself may still be on its way.
            (i.index, i.state) = (None, LinkState::Unknown);
            i.addresses.retain(|a| !a.to_string().starts_with("fe80"));
            i.addresses.sort_unstable();
        }
        assert_eq!(interfaces.len(), 3);
        let mut routes = s.os.routes().await.expect("read");
        routes.retain(|r| !r.to.to_string().starts_with("fe80"));
        seen.push((interfaces, routes));
    }
    assert!(seen.windows(2).all(|w| w[0] == w[1]), "{seen:#?}");
}

#[tokio::test]
async fn the_host_name_is_set() {
    if !may_change() {
        return;
    }
    for s in both().await {
        s.os.set_hostname("box-7.example.org").await.expect("set");
        assert_eq!(s.os.hostname().await.ok().as_deref(), Some("box-7.example.org"));
        assert_eq!(std::fs::read_to_string(s.path("etc/hostname")).ok().as_deref(), Some("box-7.example.org\n"));
        assert_eq!(s.os.set_hostname("a b").await.map_err(|e| e.kind()), Err(ErrorKind::InvalidInput));
    }
}

#[tokio::test]
async fn users_come_and_go() {
    if !may_change() {
        return;
    }
    for s in both().await {
        let os = &s.os;
        let kind = |e: crate::Error| e.kind();
        if !os.facts().has("useradd") && !os.facts().has("adduser") {
            assert_eq!(os.create_user(&NewUser::new("bob")).await.map_err(kind), Err(ErrorKind::Unsupported));
            eprintln!("skipped: this BusyBox was built without adduser");
            continue;
        }
        let before = os.users().await.expect("read");
        let bob = NewUser::new("bob")
            .with_groups(["audio"])
            .with_shell("/bin/sh")
            .with_comment("Bob B")
            .with_password(Password::new("pa:ss word'\"$1").expect("a password"));
        let made = os.create_user(&bob).await.expect("made");
        assert_eq!((made.name.as_str(), made.groups.as_slice()), ("bob", &["audio".to_owned()][..]));
        assert_eq!((&made.shell == "/bin/sh", &made.home == "/home/bob"), (true, true));
        assert_eq!(made.comment.trim_end_matches(','), "Bob B");
        assert!(s.path("home/bob").is_dir());
        let hash = |user: &str| {
            let shadow = std::fs::read_to_string(s.path("etc/shadow")).expect("read");
            let line = shadow.lines().find(|l| l.starts_with(&format!("{user}:"))).expect("a line").to_owned();
            line.split(':').nth(1).expect("a field").to_owned()
        };
        assert!(hash("bob").starts_with('$'), "hashed, and well: {}", hash("bob"));
        let old = hash("bob");
        os.set_password("bob", &Password::new("other").expect("a password")).await.expect("set");
        assert_ne!(hash("bob"), old);

        // Nothing is touched when something is wrong.
        let all = os.users().await.expect("read");
        assert_eq!(os.create_user(&NewUser::new("bob")).await.map_err(kind), Err(ErrorKind::AlreadyExists));
        let unknown = NewUser::new("eve").with_groups(["audio", "nogroupofthis"]);
        assert_eq!(os.create_user(&unknown).await.map_err(kind), Err(ErrorKind::NotFound));
        assert_eq!(os.create_user(&NewUser::new("eve:x")).await.map_err(kind), Err(ErrorKind::InvalidInput));
        let nobody = Password::new("x").expect("a password");
        assert_eq!(os.set_password("eve", &nobody).await.map_err(kind), Err(ErrorKind::NotFound));
        assert_eq!(os.user("eve").await.map_err(kind), Err(ErrorKind::NotFound));
        assert_eq!(os.users().await.expect("read"), all);

        let locked = os.create_user(&NewUser::new("amy").with_make_home(false).with_uid(4242)).await.expect("made");
        assert_eq!((locked.uid, there(&s.path("home/amy"))), (4242, false));
        assert!(hash("amy").starts_with('!') || hash("amy") == "*", "locked: {}", hash("amy"));
        assert_eq!(os.delete_user("amy", false).await.ok(), Some(Removed::Removed));
        assert_eq!(os.delete_user("bob", true).await.ok(), Some(Removed::Removed));
        assert_eq!(os.delete_user("bob", true).await.ok(), Some(Removed::AlreadyAbsent));
        assert!(!there(&s.path("home/bob")));
        assert_eq!(os.users().await.expect("read"), before);
    }
}

#[tokio::test]
async fn services_of_system_v() {
    if !may_change() {
        return;
    }
    for s in both().await {
        let mut facts = s.os.facts().clone();
        facts.init = Some(InitSystem::SysV);
        let os = Os::new(s.os.connection().clone(), Arc::new(Linux::new(facts)));
        let dir = s.path("etc/init.d");
        std::fs::create_dir_all(&dir).expect("a folder");
        for entry in std::fs::read_dir(&dir).expect("listed").flatten() {
            std::fs::remove_file(entry.path()).expect("removed"); // the sandbox's copy
        }
        let script = "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: mine\n# Required-Start:\n# Required-Stop:\n# Default-Start: 2 3 4 5\n# Default-Stop:\n### END INIT INFO\nf=/etc/mine.up\ncase $1 in start) : >$f ;; stop) rm -f $f ;; restart) echo again >$f ;; status) [ -e $f ] || exit 3 ;; *) exit 2 ;; esac\n";
        for (file, text) in [("mine", script), ("broken", "#!/bin/sh\necho it is broken >&2\nexit 1\n")] {
            std::fs::write(dir.join(file), text).expect("written");
            std::fs::set_permissions(dir.join(file), std::fs::Permissions::from_mode(0o755)).expect("set");
        }
        std::fs::write(dir.join("README"), "").expect("written");
        let all: Vec<_> = os.services().await.expect("read").into_iter().map(|s| (s.name, s.state)).collect();
        assert_eq!(all, [("broken".to_owned(), ServiceState::Failed), ("mine".to_owned(), ServiceState::Stopped)]);
        let act = async |action| os.control_service("mine", action).await.map_err(|e| e.kind());
        assert_eq!(act(ServiceAction::Stop).await, Ok(ServiceOutcome::Unchanged));
        assert_eq!(act(ServiceAction::Start).await, Ok(ServiceOutcome::Changed));
        assert_eq!(act(ServiceAction::Start).await, Ok(ServiceOutcome::Unchanged));
        assert_eq!(os.service("mine").await.map(|s| s.state).ok(), Some(ServiceState::Running));
        assert_eq!(act(ServiceAction::Restart).await, Ok(ServiceOutcome::Changed));
        assert_eq!(std::fs::read_to_string(s.path("etc/mine.up")).ok().as_deref(), Some("again\n"));
        assert_eq!(act(ServiceAction::Stop).await, Ok(ServiceOutcome::Changed));
        let kind = |e: crate::Error| e.kind();
        assert_eq!(os.service("nope").await.map_err(kind), Err(ErrorKind::NotFound));
        assert_eq!(os.control_service("nope", ServiceAction::Start).await.map_err(kind), Err(ErrorKind::NotFound));
        assert_eq!(os.control_service("../x", ServiceAction::Start).await.map_err(kind), Err(ErrorKind::InvalidInput));
        let broken = os.control_service("broken", ServiceAction::Restart).await.expect_err("it fails");
        assert_eq!(broken.kind(), ErrorKind::CommandFailed);
        assert!(broken.to_string().contains("it is broken"), "{broken}");
        if os.facts().has("update-rc.d") {
            let links = |s: &Sandbox| s.path("etc/rc3.d/S01mine").exists();
            assert_eq!(act(ServiceAction::Enable).await, Ok(ServiceOutcome::Changed));
            assert!(links(&s) && os.service("mine").await.expect("read").enabled == Some(true));
            assert_eq!(act(ServiceAction::Enable).await, Ok(ServiceOutcome::Unchanged));
            assert_eq!(act(ServiceAction::Disable).await, Ok(ServiceOutcome::Changed));
            assert_eq!(os.service("mine").await.expect("read").enabled, Some(false));
        } else {
            assert_eq!(act(ServiceAction::Enable).await, Err(ErrorKind::Unsupported));
        }
    }
}

#[tokio::test]
async fn without_an_init_there_are_no_services_and_no_reboot() {
    let Some(s) = gnu().await else { return };
    let mut facts = s.os.facts().clone();
    facts.init = None;
    let os = Os::new(s.os.connection().clone(), Arc::new(Linux::new(facts)));
    let kind = |e: crate::Error| e.kind();
    assert_eq!(os.services().await.map_err(kind), Err(ErrorKind::Unsupported));
    assert_eq!(os.control_service("x", ServiceAction::Start).await.map_err(kind), Err(ErrorKind::Unsupported));
    assert_eq!(os.restart_network().await.map_err(kind), Err(ErrorKind::Unsupported));
    let minute = std::time::Duration::from_secs(60);
    assert_eq!(os.reboot(minute).await.map_err(kind), Err(ErrorKind::Unsupported));
    assert_eq!(os.shutdown(minute).await.map_err(kind), Err(ErrorKind::Unsupported));
}

#[tokio::test]
async fn a_mounted_file_is_written_in_place() {
    if !may_change() {
        return;
    }
    for s in both().await {
        for file in ["etc/under", "etc/mounted"] {
            std::fs::write(s.path(file), "a much longer text that was there before\n").expect("written");
        }
        let inside = |file: &str| s.path(file).to_str().expect("text").to_owned();
        // The sandbox's /etc is this folder: a mount there is seen at both names.
        let target = if s.os.dialect().name() == "gnu" { "/etc/mounted".to_owned() } else { inside("etc/mounted") };
        s.run(&["mount", "--bind", &inside("etc/under"), &target]);
        s.os.write_file("/etc/mounted", "new\n", 0o600).await.expect("written");
        assert_eq!(s.os.read_file("/etc/mounted").await.ok().as_deref(), Some(&b"new\n"[..]));
        assert_eq!(std::fs::read(s.path("etc/under")).ok().as_deref(), Some(&b"new\n"[..]));
        let mode = std::fs::metadata(s.path("etc/under")).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        let left = s.os.list_dir("/etc").await.expect("listed");
        assert!(left.iter().all(|e| !e.name.as_bytes().starts_with(b".pod.")), "no half file stays");
        let disks = s.os.disks().await.expect("read");
        assert!(disks.iter().all(|d| &d.mount != "/etc/mounted"), "a mounted file is no disk");
    }
}
