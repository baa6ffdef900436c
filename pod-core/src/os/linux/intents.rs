//! Tests of what the dialect would run, and of the readers of packages, services and users.

use super::Linux;
use super::transcripts::dialect;
use crate::os::testing::{fixture, printed};
use crate::os::{
    Change, InitSystem, NameState, NetworkConfig, NetworkManager, NetworkState, NewUser, OsDialect, PackageManager,
    Password, Plan, Service, ServiceAction, ServiceState,
};
use crate::{ErrorKind, ExitStatus, IfName, Output, VlanId};
use proptest::prelude::*;

fn with(change: impl FnOnce(&mut crate::os::OsFacts)) -> Linux {
    let mut facts = dialect("detect-debian.txt").facts().clone();
    change(&mut facts);
    Linux::new(facts)
}

/// The script and its arguments.
fn shown<T>(plan: &Plan<T>) -> (String, Vec<String>)
where
    T: 'static,
{
    let argv = &plan.steps()[0].request.argv;
    let text = |a: &Vec<u8>| String::from_utf8_lossy(a).into_owned();
    (text(&argv[2]), argv[4..].iter().map(text).collect())
}

#[test]
fn packages_are_read() {
    let read = |manager, out: &str| {
        let d = with(|f| f.package_manager = Some(manager));
        let all = d.packages().and_then(|p| p.read(&[printed(out.into())]));
        all.map(|l| l.iter().map(|p| format!("{} {} {}", p.name, p.version, p.arch)).collect::<Vec<_>>())
    };
    // Printed by dpkg-query 1.21 of Debian 12.
    let dpkg = "installed\tzlib1g\t1:1.2.13.dfsg-1\tamd64\nconfig-files\told\t1\tall\ninstalled\tadduser\t3.134\tall\n";
    assert_eq!(read(PackageManager::Apt, dpkg).expect("read"), ["adduser 3.134 all", "zlib1g 1:1.2.13.dfsg-1 amd64"]);
    // By hand, in the form that the script asks rpm for.
    let rpm = "bash\t5.1.8-9.el9\tx86_64\ngpg-pubkey\tfd431d51-4ae0493b\t(none)\n";
    for manager in [PackageManager::Dnf, PackageManager::Yum, PackageManager::Zypper, PackageManager::Microdnf] {
        assert_eq!(read(manager, rpm).expect("read"), ["bash 5.1.8-9.el9 x86_64"]);
    }
    assert_eq!(read(PackageManager::Pacman, "bash 5.2.032-2\n").expect("read"), ["bash 5.2.032-2 "]);
    // By hand, after apk's own description of its database.
    let apk = "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nS:1\n\nP:busybox\nV:1.36.1-r29\nA:x86_64\nF:bin\nR:busybox\n\n";
    assert_eq!(read(PackageManager::Apk, apk).expect("read"), ["busybox 1.36.1-r29 x86_64", "musl 1.2.5-r0 x86_64"]);
    assert!(read(PackageManager::Apt, "installed\tx\n").is_err());
    assert!(read(PackageManager::Apk, "P:x\n\n").is_err());
}

#[test]
fn packages_are_named_with_or_without_architecture() {
    let d = with(|_| {});
    let out = printed(b"installed\tlibc6\t2.36\tamd64\n".to_vec());
    let p = d.packages().and_then(|p| p.read(&[out])).expect("read").remove(0);
    assert!(p.is("libc6") && p.is("libc6:amd64") && !p.is("libc6:i386") && !p.is("libc"));
}

#[test]
fn package_managers_are_never_asked_to_ask() {
    let wanted = [
        (PackageManager::Apt, "apt-get -q -y", "apt-get -q update"),
        (PackageManager::Dnf, "dnf -y", "--refresh"),
        (PackageManager::Microdnf, "microdnf -y", "--refresh"),
        (PackageManager::Yum, "yum -y", "makecache"),
        (PackageManager::Zypper, "zypper --non-interactive", "refresh"),
        (PackageManager::Pacman, "--noconfirm", "-Sy"),
        (PackageManager::Apk, "apk", "--update-cache"),
    ];
    for (manager, quiet, fresh) in wanted {
        let d = with(|f| f.package_manager = Some(manager));
        let plan = |change| d.change_packages(&["a", "b=1"], change).expect("a plan");
        let (install, args) = shown(&plan(Change::Install));
        assert!(install.contains(quiet) && install.contains(fresh) && install.contains("\"$@\""), "{install}");
        assert_eq!(args, ["a", "b=1"]);
        assert!(shown(&plan(Change::Remove)).0.contains(quiet), "{manager}");
    }
    let kind = |e: crate::Error| e.kind();
    let d = with(|_| {});
    for bad in ["", "-y", "--purge", "a b", "a-", "a*", "$(x)", "a;b"] {
        assert_eq!(d.change_packages(&[bad], Change::Install).map(|_| ()).map_err(kind), Err(ErrorKind::InvalidInput));
    }
    assert_eq!(d.change_packages(&[], Change::Install).map(|_| ()).map_err(kind), Err(ErrorKind::InvalidInput));
    let none = with(|f| f.package_manager = None);
    assert_eq!(none.packages().map(|_| ()).map_err(kind), Err(ErrorKind::Unsupported));
}

#[test]
fn an_unknown_package_is_not_found() {
    let d = with(|f| f.package_manager = Some(PackageManager::Yum));
    let plan = d.change_packages(&["a", "nope"], Change::Install).expect("a plan");
    let half = Output { stderr: b"No package nope available.\n".to_vec(), ..printed(b"Complete!\n".to_vec()) };
    let error = plan.read(&[half]).expect_err("yum's 0 is no success");
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "No package nope available"));
    for (manager, status, stderr) in [
        (PackageManager::Apt, 100, "E: Unable to locate package nope\n"),
        (PackageManager::Dnf, 1, "Error: Unable to find a match: nope\n"),
        (PackageManager::Zypper, 90, "\x01no such package in the repositories: nope\n"),
        (PackageManager::Pacman, 1, "error: target not found: nope\n"),
        (
            PackageManager::Apk,
            1,
            "ERROR: unable to select packages:\n  nope (no such package):\n    required by: world[nope]\n",
        ),
    ] {
        let d = with(|f| f.package_manager = Some(manager));
        let plan = d.change_packages(&["nope"], Change::Install).expect("a plan");
        let out = Output { status: ExitStatus::Exited(status), stdout: Vec::new(), stderr: stderr.as_bytes().to_vec() };
        assert_eq!(plan.read(&[out]).map_err(|e| e.kind()), Err(ErrorKind::NotFound), "{manager}");
    }
}

fn systemd() -> Linux {
    with(|f| f.init = Some(InitSystem::Systemd))
}

#[test]
fn services_of_systemd_are_read() {
    // Printed by systemd 252, of which some services were left out.
    let all = systemd().services().and_then(|p| p.read(&[printed(fixture("services-systemd.txt"))])).expect("read");
    let find = |name: &str| all.iter().find(|s| s.name == name).cloned();
    let seen = |name: &str| find(name).map(|s: Service| (s.state, s.enabled, s.pid));
    assert_eq!(seen("dbus"), Some((ServiceState::Running, None, Some(209))));
    assert_eq!(seen("systemd-sysctl"), Some((ServiceState::Exited, None, None)));
    assert_eq!(seen("systemd-remount-fs"), Some((ServiceState::Exited, Some(true), None)));
    assert_eq!(seen("bad"), Some((ServiceState::Failed, None, None)));
    assert_eq!(seen("mine"), Some((ServiceState::Stopped, Some(false), None)), "it is only a file");
    assert_eq!(find("dbus").map(|s| s.description).as_deref(), Some("D-Bus System Message Bus"));
    assert_eq!(find("bad").map(|s| s.description).as_deref(), Some(""));
    assert!(all.iter().all(|s| !s.name.ends_with('@') && !s.name.starts_with("dbus-org")), "templates and aliases");
}

#[test]
fn one_service_is_found_or_not() {
    let one = |out: &str| systemd().service("x").and_then(|p| p.read(&[printed(out.into())])).map_err(|e| e.kind());
    let block = |load: &str| format!("\0units\0Id=x.service\nLoadState={load}\nActiveState=activating\n\0files\0");
    assert_eq!(one(&block("loaded")).map(|s| s.state), Ok(ServiceState::Starting));
    assert_eq!(one(&block("not-found")), Err(ErrorKind::NotFound));
    assert_eq!(one("\0units\0Id=x.service\n\nId=y.service\n\0files\0").map(|s| s.name), Err(ErrorKind::Unexpected));
    let args = |name: &str| shown(&systemd().control_service(name, ServiceAction::Stop).expect("a plan")).1;
    assert_eq!(args("nginx"), ["nginx.service", "stop", "nginx"]);
    assert_eq!(args("nginx.service")[0], "nginx.service");
    for bad in ["", "-H", "a b", "*", "../x", "a\n"] {
        let error = systemd().control_service(bad, ServiceAction::Start).map(|_| ()).map_err(|e| e.kind());
        assert_eq!(error, Err(ErrorKind::InvalidInput), "{bad:?}");
    }
}

#[test]
fn services_of_openrc_are_read() {
    // Printed by the script with OpenRC 0.45 of Debian 12.
    let out = "\0scripts\0cgroups stopped on\nbad failed off\nmine started off\nodd inactive on\n";
    let d = with(|f| f.init = Some(InitSystem::OpenRc));
    let all = d.services().and_then(|p| p.read(&[printed(out.into())])).expect("read");
    let seen: Vec<_> = all.iter().map(|s| (s.name.as_str(), s.state, s.enabled)).collect();
    assert_eq!(
        seen,
        [
            ("bad", ServiceState::Failed, Some(false)),
            ("cgroups", ServiceState::Stopped, Some(true)),
            ("mine", ServiceState::Running, Some(false)),
            ("odd", ServiceState::Stopped, Some(true)),
        ]
    );
}

#[test]
fn users_are_read() {
    let out = "\0passwd\0root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000:Bob,,,:/home/bob:/bin/sh\n+nis::::::\nsvc:x:99:4711::/:/bin/false\n\
        \0group\0root:x:0:\nbob:x:1000:bob\naudio:x:29:bob,amy\nwheel:x:10:amy,bobby\n";
    let all = with(|_| {}).users().and_then(|p| p.read(&[printed(out.into())])).expect("read");
    let seen: Vec<_> = all.iter().map(|u| (u.name.as_str(), u.uid, u.group.as_str(), u.groups.join(","))).collect();
    assert_eq!(
        seen,
        [
            ("root", 0, "root", String::new()),
            ("svc", 99, "4711", String::new()),
            ("bob", 1000, "bob", "audio".to_owned())
        ]
    );
    assert_eq!((all[2].comment.as_str(), &all[2].home == "/home/bob"), ("Bob,,,", true));
}

#[test]
fn a_password_is_in_no_argument() {
    let password = Password::new("hunter2").expect("a password");
    let user = NewUser::new("bob").with_password(password.clone()).with_groups(["audio", "wheel"]).with_uid(7);
    let busybox = with(|f| f.tools = ["adduser", "deluser"].map(str::to_owned).into());
    for d in [with(|_| {}), busybox] {
        for plan in [d.create_user(&user).expect("a plan"), d.set_password("bob", &password).expect("a plan")] {
            let step = &plan.steps()[0];
            assert!(step.request.argv.iter().all(|a| !String::from_utf8_lossy(a).contains("hunter2")));
            assert!(step.request.env.is_empty() && step.request.stdin);
            assert_eq!(step.input.as_ref().map(|i| i.as_bytes()), Some(&b"bob:hunter2\n"[..]));
        }
    }
    let (_, args) = shown(&with(|_| {}).create_user(&user).expect("a plan"));
    assert_eq!(args, ["bob", "audio,wheel", "1", "-u", "7", "-G", "audio,wheel", "-m", "bob"]);
}

fn state(manager: Option<NetworkManager>) -> NetworkState {
    let d = with(|_| {});
    let interfaces = d.interfaces().and_then(|p| p.read(&[printed(fixture("interfaces-debian.txt"))])).expect("read");
    let routes = d.routes().and_then(|p| p.read(&[printed(fixture("routes-debian.txt"))])).expect("read");
    let names = NameState {
        resolv_conf: None,
        resolved: manager == Some(NetworkManager::SystemdNetworkd),
        servers: vec!["192.0.2.9".into()],
        domains: Vec::new(),
        manager,
    };
    NetworkState { interfaces, routes, names }
}

fn vlan() -> NetworkConfig {
    let name = |n: &str| IfName::new(n).expect("a name");
    NetworkConfig::new(name("eth0.100"))
        .with_vlan(name("eth0"), VlanId::try_from(100).expect("an id"))
        .with_address("10.100.0.3/24".parse().expect("a net"))
        .with_gateway("10.100.0.1".parse().expect("an address"))
        .with_dns("10.100.0.53".parse().expect("an address"))
        .with_search("example.org")
        .with_mtu(1496)
        .with_persist(true)
}

#[test]
fn the_network_is_configured_by_ip() {
    let (text, _) = shown(&with(|_| {}).apply_network(&vlan(), &state(None)).expect("a plan"));
    let commands: Vec<&str> = text.lines().filter(|l| l.contains("'ip'") || l.contains("ip link")).collect();
    assert!(text.contains("has ip || fail 92"), "{text}");
    assert!(commands[0].contains("ip link add link 'eth0' name 'eth0.100' type vlan id 100"), "{text}");
    assert_eq!(
        commands[1..],
        [
            "'ip' 'link' 'set' 'dev' 'eth0' 'up' || exit",
            "'ip' 'link' 'set' 'dev' 'eth0.100' 'mtu' '1496' || exit",
            "'ip' 'link' 'set' 'dev' 'eth0.100' 'up' || exit",
            "'ip' 'address' 'add' '10.100.0.3/24' 'dev' 'eth0.100' || exit",
            "'ip' '-4' 'route' 'replace' 'default' 'via' '10.100.0.1' 'dev' 'eth0.100' || exit",
        ]
    );
    // A name that only the shell would find odd stays one word.
    let odd = NetworkConfig::new(IfName::new("a;$(x)&").expect("Linux takes it"));
    let (text, _) = shown(&with(|_| {}).apply_network(&odd, &state(None)).expect("a plan"));
    assert!(text.contains("'a;$(x)&'"), "{text}");
}

#[test]
fn servers_are_given_to_whoever_has_them() {
    let plan = with(|_| {}).apply_network(&vlan(), &state(None)).expect("a plan");
    let (text, args) = shown(&plan);
    assert!(text.contains(">/etc/resolv.conf") && plan.steps()[0].input.is_none(), "{text}");
    assert_eq!(args, ["search example.org\nnameserver 10.100.0.53\n"]);
    let before = state(Some(NetworkManager::SystemdNetworkd));
    let plan = with(|_| {}).apply_network(&vlan(), &before).expect("a plan");
    let text = shown(&plan).0;
    assert!(!text.contains("resolv.conf"), "the file is not ours: {text}");
    assert!(text.contains("'resolvectl' 'dns' 'eth0.100' '10.100.0.53'"), "{text}");
    assert!(text.contains("'resolvectl' 'domain' 'eth0.100' 'example.org'"), "{text}");

    let config = NetworkConfig::new(IfName::new("eth0").expect("a name"))
        .with_dns("10.0.0.1".parse().expect("an address"))
        .with_search("x");
    let text = shown(&with(|_| {}).restore_network(&config, &before, &before).expect("a plan")).0;
    assert!(text.contains("'resolvectl' 'dns' 'eth0' '192.0.2.9'"), "{text}");
    assert!(text.contains("'resolvectl' 'domain' 'eth0' ''"), "{text}");
}

#[test]
fn the_names_state_is_read() {
    let d = with(|f| {
        f.init = Some(InitSystem::Systemd);
        f.tools.insert("resolvectl".into());
    });
    let out = "\0manager\0networkd\n\0target\0/run/systemd/resolve/stub-resolv.conf\n\0conf\0nameserver 127.0.0.53\n\
        \0servers\0Link 2 (eth0): 192.0.2.1 192.0.2.2\n\0domains\0Link 2 (eth0): example.org\n";
    let eth0 = IfName::new("eth0").expect("a name");
    let s = d.name_state(&eth0).and_then(|p| p.read(&[printed(out.into())])).expect("read");
    assert_eq!((s.resolved, s.manager), (true, Some(NetworkManager::SystemdNetworkd)));
    assert_eq!((s.servers.join(" "), s.domains.join(" ")), ("192.0.2.1 192.0.2.2".into(), "example.org".into()));
    let out = "\0manager\0\0target\0\0servers\0\0domains\0";
    let s = d.name_state(&eth0).and_then(|p| p.read(&[printed(out.into())])).expect("read");
    assert_eq!((s.resolved, s.manager, s.resolv_conf, s.servers.len()), (false, None, None, 0));
}

#[test]
fn a_configuration_is_kept_by_whoever_is_there() {
    let d = with(|_| {});
    let nm = state(Some(NetworkManager::NetworkManager));
    let (text, _) = shown(&d.persist_network(&vlan(), &nm).expect("a plan"));
    for part in [
        "'con-name' 'pod-eth0.100' 'ifname' 'eth0.100' 'type' 'vlan' 'dev' 'eth0' 'id' '100'",
        "'ipv4.addresses' '10.100.0.3/24' 'ipv4.method' 'manual' 'ipv4.gateway' '10.100.0.1' 'ipv4.dns' '10.100.0.53'",
        "'ipv6.addresses' '' 'ipv6.method' 'link-local' 'ipv6.gateway' '' 'ipv6.dns' '' 'ipv6.dns-search' ''",
        "'802-3-ethernet.mtu' '1496'",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let six = vlan().with_dns("fd00::53".parse().expect("an address"));
    assert_eq!(d.persist_network(&six, &nm).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Unsupported));

    let networkd = state(Some(NetworkManager::SystemdNetworkd));
    let (_, args) = shown(&d.persist_network(&vlan(), &networkd).expect("a plan"));
    assert_eq!(args[..2], ["eth0.100", "eth0"]);
    assert_eq!(
        args[2],
        "[Match]\nName=eth0.100\n\n[Link]\nMTUBytes=1496\n\n[Network]\nAddress=10.100.0.3/24\nGateway=10.100.0.1\nDNS=10.100.0.53\nDomains=example.org\n"
    );
    assert_eq!(args[3], "[NetDev]\nName=eth0.100\nKind=vlan\n\n[VLAN]\nId=100\n");
    assert_eq!(args[4], "[Network]\nVLAN=eth0.100\n");
    let error = d.persist_network(&vlan(), &state(None)).map(|_| ()).map_err(|e| e.kind());
    assert_eq!(error, Err(ErrorKind::Unsupported));
    let bridge = NetworkConfig::new(IfName::new("br0").expect("a name")).with_persist(true);
    assert_eq!(d.persist_network(&bridge, &nm).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Unsupported));
}

#[test]
fn configurations_are_checked() {
    let eth0 = || NetworkConfig::new(IfName::new("eth0").expect("a name"));
    let at = |a: &str| eth0().with_address(a.parse().expect("a net"));
    let good = [at("10.0.0.1/24"), at("10.0.0.0/31"), at("10.0.0.1/32"), at("fd00::1/64"), at("fe80::1/64")];
    for c in good {
        assert!(c.validate().is_ok(), "{c:?}");
    }
    let ip = |a: &str| a.parse().expect("an address");
    let bad = [
        at("10.0.0.0/24"),
        at("10.0.0.255/24"),
        at("0.0.0.0/0"),
        at("224.0.0.1/4"),
        at("ff02::1/64"),
        eth0().with_mtu(67),
        eth0().with_mtu(65536),
        at("fd00::1/64").with_mtu(1279),
        eth0().with_gateway(ip("10.0.0.1")).with_gateway(ip("10.0.0.2")),
        eth0().with_search("a b"),
        eth0().with_search("x\nnameserver 6.6.6.6"),
        eth0().with_vlan(IfName::new("eth0").expect("a name"), VlanId::try_from(1).expect("an id")),
    ];
    for c in bad {
        assert_eq!(c.validate().map_err(|e| e.kind()), Err(ErrorKind::InvalidInput), "{c:?}");
    }
}

#[test]
fn reboot_goes_by_the_init_system() {
    let text = |init, tools: &[&str]| {
        let d = with(|f| {
            f.init = Some(init);
            f.tools = tools.iter().map(|t| (*t).to_owned()).collect();
        });
        (shown(&d.reboot().expect("a plan")).0, shown(&d.shutdown().expect("a plan")).0)
    };
    let ends = |(reboot, off): (String, String), r: &str, o: &str| reboot.ends_with(r) && off.ends_with(o);
    assert!(ends(text(InitSystem::Systemd, &[]), "password reboot >&2", "password poweroff >&2"));
    assert!(ends(text(InitSystem::OpenRc, &["shutdown"]), "exec reboot >&2", "exec poweroff >&2"));
    assert!(ends(text(InitSystem::SysV, &["shutdown"]), "exec shutdown -r now >&2", "exec shutdown -h now >&2"));
    assert!(ends(text(InitSystem::SysV, &[]), "exec reboot >&2", "exec poweroff >&2"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn anything_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        words in proptest::collection::vec("[a-z0-9]{1,4}|:|=|\t|\n|\n\n|Id=x\\.service|P:|V:|installed| started on|x\\.service", 0..40),
    ) {
        let text = words.concat();
        let mut framed = Vec::new();
        for name in ["units", "files", "scripts", "passwd", "group", "manager", "target", "conf", "servers", "domains"] {
            framed.extend([&b"\0"[..], name.as_bytes(), b"\0", text.as_bytes()].concat());
        }
        for out in [bytes, text.into_bytes(), framed] {
            let out = [printed(out)];
            for manager in [PackageManager::Apt, PackageManager::Dnf, PackageManager::Pacman, PackageManager::Apk] {
                let _ = with(|f| f.package_manager = Some(manager)).packages().and_then(|p| p.read(&out));
            }
            for init in [InitSystem::Systemd, InitSystem::OpenRc, InitSystem::SysV] {
                let d = with(|f| f.init = Some(init));
                let _ = d.services().and_then(|p| p.read(&out));
                let _ = d.service("x").and_then(|p| p.read(&out));
            }
            let d = with(|_| {});
            let _ = d.users().and_then(|p| p.read(&out));
            let _ = d.name_state(&IfName::new("eth0").expect("a name")).and_then(|p| p.read(&out));
        }
    }
}
