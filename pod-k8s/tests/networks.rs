//! Networks on a real cluster of two nodes: definitions, addresses, reach, policies, detection.

mod networks {
    pub(crate) mod world;
}

use networks::world::{World, image, ip, kubeconfig_of, net, network, workload};
use pod_core::{
    AttachmentFilter, AttachmentSpec, Backend, CreateNetworkOutcome, Enforcement, ErrorKind, IfName, ProbeOutcome,
    ProbeRequest, ProbeTarget, RemoveOutcome, Route, VerifyRequest,
};
use pod_k8s::cni::{Cni, Presence};
use pod_k8s::nad::{self, ApplyOutcome, Definition, Kind, MacvlanMode, NetworkAttachmentDefinition};
use pod_k8s::{K8sBackend, K8sConfig};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The definition of the report that POD's predecessor was judged by.
const FIRST: &str = r#"{
    "cniVersion": "0.3.1", "name": "test-vlan100", "type": "macvlan", "master": "eth0", "mode": "bridge", "vlan": 100,
    "ipam": {"type": "static", "addresses": [{"address": "10.100.0.0/24", "gateway": "10.100.0.1"}]},
    "dns": {"nameservers": ["8.8.8.8", "8.8.4.4"]}}"#;

#[test]
fn definitions_are_applied_listed_compared_and_deleted() {
    World::run("definitions", |w| async move {
        let all = w.backend.definitions();
        let kind = Kind::Macvlan { master: Some(IfName::new("net1")?), vlan: None, mode: MacvlanMode::Bridge };
        let object = Definition::new("red", kind).object()?;
        assert_eq!(all.apply(&object).await?, ApplyOutcome::Created);
        assert_eq!(all.apply(&object).await?, ApplyOutcome::Unchanged);
        assert_eq!(all.compare(&object).await?, []);
        let mut changed = object.clone();
        changed.spec.config = changed.spec.config.replace("net1", "net2");
        assert_eq!(all.compare(&changed).await?[0].at, "config.master");
        assert_eq!(all.apply(&changed).await?, ApplyOutcome::Changed);
        let listed = all.list().await?;
        assert_eq!(listed.iter().map(|l| (l.name.as_str(), l.faults)).collect::<Vec<_>>(), [("red", 0)]);
        assert_eq!(all.delete("red", false).await?, RemoveOutcome::Removed);
        assert_eq!(all.delete("red", false).await?, RemoveOutcome::AlreadyAbsent);
        let missing = all.get("red").await.expect_err("it is gone");
        assert_eq!(missing.kind(), ErrorKind::NotFound);

        // A definition that does not do what it says is refused, and the fixed one is taken.
        let first = NetworkAttachmentDefinition::new("test-vlan100", FIRST);
        let refused = all.apply(&first).await.expect_err("four faults").to_string();
        for words in ["4 faults", "nothing is tagged", "network's own address", "every pod's", "resolv.conf"] {
            assert!(refused.contains(words), "{words} in {refused}");
        }
        let fixed = nad::fix(&first)?;
        assert_eq!(fixed.left, []);
        all.try_apply(&fixed.definition).await?;
        assert_eq!(all.apply(&fixed.definition).await?, ApplyOutcome::Created);
        Ok(())
    });
}

#[test]
fn pods_on_two_nodes_reach_each_other_by_one_definition() {
    World::run("nodes", |w| async move {
        let networking = w.networking();
        // Each network has a parent interface to itself: this kernel need not know tags.
        for (name, uplink) in [("red", "net1"), ("blue", "net2")] {
            let spec = network(name, "10.77.0.0/24").with_uplink(IfName::new(uplink)?);
            assert!(matches!(networking.create(spec).await?, CreateNetworkOutcome::Created(_)));
        }
        let (one, two) = (w.on("node-1").await?, w.on("node-2").await?);
        let lan = |n: &str, a: &str| AttachmentSpec::new(network(n, "10.77.0.0/24").name).with_ip(ip(a));
        let a = w.start_on(&one, "a", [lan("red", "10.77.0.11")]).await?;
        let b = w.start_on(&two, "b", [lan("red", "10.77.0.12")]).await?;
        w.start_on(&one, "c", [lan("blue", "10.77.0.13")]).await?;
        let d = w.start_on(&two, "d", [lan("blue", "10.77.0.14")]).await?;
        assert_eq!(a.attachments[0].interface.as_str(), "net1");
        assert_eq!(a.attachments[0].ips, [net("10.77.0.11/24")]);
        let inside = w.sh("a", "ip -4 -o addr show dev net1; cat /sys/class/net/net1/address").await?;
        assert!(inside.contains("10.77.0.11/24") && inside.contains(&a.attachments[0].mac.to_string()), "{inside}");
        let ask = |from: &str, to: &str| {
            let target = ProbeTarget::new(ip(to)).with_interface(IfName::new("net1").expect("name"));
            ProbeRequest::new(workload(from), vec![target])
        };
        for (from, to, reached) in [
            ("a", "10.77.0.12", true),
            ("b", "10.77.0.11", true),
            ("c", "10.77.0.14", true),
            ("a", "10.77.0.13", false),
            ("a", "10.77.0.14", false),
            ("d", "10.77.0.11", false),
            ("d", "10.77.0.12", false),
        ] {
            let outcome = networking.probe(ask(from, to)).await?;
            assert_eq!(outcome[0].reached(), reached, "{from} to {to}: {outcome:?}");
        }
        assert!(b.attachments[0].mac != d.attachments[0].mac);
        for name in ["red", "blue"] {
            let report = networking.verify(VerifyRequest::of(network(name, "10.77.0.0/24").name)).await?;
            assert!(report.ok() && report.checked > 10, "{report:?}");
        }
        // In use it stays; then it goes.
        let red = network("red", "10.77.0.0/24").name;
        let busy = networking.remove(&red).await.expect_err("in use");
        assert!(busy.kind() == ErrorKind::Busy && busy.to_string().contains("a, b"), "{busy}");
        let used = w.backend.definitions().delete("red", false).await.expect_err("in use");
        assert_eq!(used.kind(), ErrorKind::Busy);
        Ok(())
    });
}

#[test]
fn fifty_pods_of_one_definition_have_fifty_addresses() {
    World::run("fifty", |w| async move {
        let spec = network("many", "10.78.0.0/25").with_uplink(IfName::new("net1")?).with_reserved(ip("10.78.0.1"));
        let name = spec.name.clone();
        w.networking().create(spec).await?;
        let begun = Instant::now();
        let starts = (0..50).map(|n| w.start(format!("p{n}"), [AttachmentSpec::new(name.clone())]));
        let mut seen = BTreeSet::new();
        for made in futures_util::future::join_all(starts).await {
            let made = made?;
            assert_eq!(made.attachments.len(), 1);
            seen.extend(made.attachments[0].ips.iter().map(ipnet::IpNet::addr));
        }
        println!("50 pods with an address each in {:?}", begun.elapsed());
        assert_eq!(seen.len(), 50, "{seen:?}");
        for never in ["10.78.0.0", "10.78.0.1", "10.78.0.127"] {
            assert!(!seen.contains(&ip(never)), "{never}");
        }
        // What a removed pod held is free at once.
        w.remove("p7").await?;
        let freed = w.start("again", [AttachmentSpec::new(name.clone())]).await?.attachments[0].ips[0].addr();
        assert!(seen.contains(&freed), "{freed}");
        let listed = w.networking().attachments(AttachmentFilter::default().with_network(name)).await?;
        assert_eq!(listed.len(), 50);
        Ok(())
    });
}

#[test]
fn mtu_routes_and_name_servers_arrive() {
    World::run("parts", |w| async move {
        let spec = network("lan", "10.79.0.0/24").with_uplink(IfName::new("net1")?).with_mtu(1400);
        let name = spec.name.clone();
        w.networking().create(spec).await?;
        let via = Route { to: net("10.240.0.0/16"), via: Some(ip("10.79.0.254")) };
        let direct = Route { to: net("10.241.0.0/16"), via: None };
        let attachment = AttachmentSpec::new(name.clone())
            .with_interface(IfName::new("lan0")?)
            .with_mac("02:5e:10:00:00:77".parse()?)
            .with_mtu(1300)
            .with_route(via.clone())
            .with_route(direct.clone())
            .with_dns(ip("10.79.0.53"));
        let made = w.start("one", [attachment]).await?.attachments.remove(0);
        assert_eq!((made.mtu, made.interface.as_str()), (1300, "lan0"));
        assert_eq!(made.routes, [via, direct]);
        let inside =
            w.sh("one", "cat /sys/class/net/lan0/mtu /sys/class/net/lan0/address /etc/resolv.conf; ip route").await?;
        for words in [
            "1300\n02:5e:10:00:00:77\n",
            "nameserver 10.79.0.53",
            "10.240.0.0/16 via 10.79.0.254",
            "10.241.0.0/16 dev lan0",
        ] {
            assert!(inside.contains(words), "{words} in {inside}");
        }
        let report = w.networking().verify(VerifyRequest::of(name.clone())).await?;
        assert!(report.ok(), "{report:?}");
        let bad = Route { to: net("10.242.0.0/16"), via: Some(ip("192.168.99.1")) };
        let refused =
            w.start("two", [AttachmentSpec::new(name.clone()).with_route(bad)]).await.expect_err("no neighbour");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        // What somebody changes behind POD's back is found.
        w.sh("one", "ip link set dev lan0 mtu 1280 || true").await?;
        let mut object = w.backend.definitions().get("lan").await?;
        object.spec.config = object.spec.config.replace("1400", "1450");
        w.backend.definitions().apply(&object).await.expect_err("another manager's field");
        Ok(())
    });
}

#[test]
fn addresses_are_checked_and_freed() {
    World::run("addresses", |w| async move {
        let spec = network("small", "10.80.0.0/30");
        let name = spec.name.clone();
        w.networking().create(spec).await?;
        let at = |a: &str| AttachmentSpec::new(name.clone()).with_ip(ip(a));
        w.start("a", [at("10.80.0.1")]).await?;
        for (asked, kind) in [
            ("10.80.0.0", ErrorKind::InvalidInput),
            ("10.80.0.3", ErrorKind::InvalidInput),
            ("10.9.0.1", ErrorKind::InvalidInput),
            ("10.80.0.1", ErrorKind::Conflict),
        ] {
            let refused = w.start("b", [at(asked)]).await.expect_err("refused");
            assert_eq!(refused.kind(), kind, "{asked}: {refused}");
        }
        w.start("b", [AttachmentSpec::new(name.clone())]).await?;
        let full = w.start("c", [AttachmentSpec::new(name.clone())]).await.expect_err("full");
        assert!(full.kind() == ErrorKind::Exhausted && full.to_string().contains("small"), "{full}");
        w.remove("a").await?;
        w.start("c", [at("10.80.0.1")]).await?;
        let nowhere = AttachmentSpec::new(network("nowhere", "10.9.0.0/24").name);
        let begun = Instant::now();
        let missing = w.start("d", [nowhere]).await.expect_err("no such network");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(begun.elapsed() < Duration::from_secs(2));
        Ok(())
    });
}

#[test]
fn a_parent_that_the_nodes_lack_is_told() {
    World::run("parent", |w| async move {
        let spec = network("tagged", "10.81.0.0/24").with_uplink(IfName::new("net1")?).with_vlan(100.try_into()?);
        let name = spec.name.clone();
        w.networking().create(spec).await?;
        let error = w.start("a", [AttachmentSpec::new(name)]).await.expect_err("no net1.100 on the nodes");
        println!("{error}");
        assert!(error.to_string().contains("net1.100"), "{error}");
        assert!(error.hint().is_some_and(|h| h.contains("802.1Q") || h.contains("8021Q")), "{error}");
        Ok(())
    });
}

#[test]
fn a_policy_that_nothing_enforces_is_not_enforced() {
    World::run("policy", |w| async move {
        let report = w.backend.policies().probe(Some(image())).await?;
        println!("{report:#?}");
        assert_eq!(report.enforcement, Enforcement::NotEnforced);
        let left = w.backend.list(pod_core::Filter::all()).await?;
        assert!(left.is_empty(), "{left:?}");
        Ok(())
    });
}

#[test]
fn what_may_not_be_seen_or_probed_is_unknown() {
    World::run("rights", |w| async move {
        let file = w.reader().await?;
        let config = K8sConfig::default().with_kubeconfig(file.path()).with_namespace(&w.namespace);
        let nobody = K8sBackend::open(config.with_image(image())).await?;
        let report = nobody.policies().probe(Some(image())).await?;
        assert_eq!(report.enforcement, Enforcement::Unknown, "{report:?}");
        let seen = nobody.cni().await?;
        assert_eq!(seen.blind.len(), 2, "{seen:?}");
        let of = |report: &pod_k8s::cni::CniReport, cni| {
            report.plugins.iter().find(|p| p.plugin == cni).map(|p| p.presence).expect("each is there")
        };
        assert_eq!(of(&seen, Cni::Multus), Presence::Present);
        assert_eq!(of(&seen, Cni::Flannel), Presence::NotSeen);
        let all = w.backend.cni().await?;
        assert!(all.blind.is_empty());
        assert_eq!((of(&all, Cni::Flannel), of(&all, Cni::Calico)), (Presence::Absent, Presence::Absent));
        assert_eq!(all.present().map(|p| p.plugin).collect::<Vec<_>>(), [Cni::Multus]);
        let refused = nobody
            .definitions()
            .apply(&NetworkAttachmentDefinition::new("x", r#"{"cniVersion": "1.0.0", "type": "bridge", "ipam": {}}"#))
            .await;
        assert_eq!(refused.expect_err("no right").kind(), ErrorKind::PermissionDenied);
        Ok(())
    });
}

#[test]
fn a_network_without_an_uplink_is_one_nodes() {
    World::run("local", |w| async move {
        for (name, subnet) in [("red", "10.82.0.0/24"), ("blue", "10.82.0.0/24")] {
            w.networking().create(network(name, subnet).with_vlan(100.try_into()?)).await?;
        }
        let lan = |n: &str| AttachmentSpec::new(network(n, "10.82.0.0/24").name);
        w.start("a", [lan("red")]).await?;
        let b = w.start("b", [lan("red")]).await?;
        let c = w.start("c", [lan("blue").with_ip(ip("10.82.0.9"))]).await?;
        let ask = |to: &pod_core::Workload| {
            let target =
                ProbeTarget::new(to.attachments[0].ips[0].addr()).with_interface(IfName::new("net1").expect("name"));
            ProbeRequest::new(workload("a"), vec![target])
        };
        assert!(w.networking().probe(ask(&b)).await?[0].reached());
        let cut = w.networking().probe(ask(&c)).await?;
        assert!(matches!(cut[0], ProbeOutcome::NoAnswer | ProbeOutcome::Refused(_)), "{cut:?}");
        let report = w.networking().verify(VerifyRequest::default()).await?;
        assert!(report.ok(), "{report:?}");
        Ok(())
    });
}

#[test]
fn a_definition_is_verified_from_every_node() {
    World::run("verify", |w| async move {
        let spec = network("lan", "10.83.0.0/24").with_uplink(IfName::new("net2")?).with_mtu(1400);
        w.networking().create(spec.clone()).await?;
        let seen = w.backend.definitions().verify(&w.backend, "lan", None).await?;
        println!("{seen:#?}");
        assert!(seen.ok() && seen.left_behind.is_empty(), "{seen:?}");
        assert_eq!((seen.plugin.as_str(), seen.parent.as_deref(), seen.vlan), ("macvlan", Some("net2"), None));
        assert_eq!(seen.nodes.iter().map(|n| n.node.as_str()).collect::<Vec<_>>(), ["node-1", "node-2"]);
        for node in &seen.nodes {
            assert_eq!((node.mtu, node.addresses.len(), node.reach.len()), (Some(1400), 1, 1), "{node:?}");
        }
        // What no node has is told for each.
        w.networking()
            .create(network("tagged", "10.84.0.0/24").with_uplink(IfName::new("net1")?).with_vlan(7.try_into()?))
            .await?;
        let seen = w.backend.definitions().verify(&w.backend, "tagged", None).await?;
        assert_eq!(seen.vlan.map(pod_core::VlanId::get), Some(7));
        assert!(
            !seen.ok() && seen.nodes.iter().all(|n| n.error.as_ref().is_some_and(|e| e.contains("net1.7"))),
            "{seen:?}"
        );
        assert!(w.backend.list(pod_core::Filter::all()).await?.is_empty());
        let held = w.backend.definitions().get("lan").await?;
        assert_eq!(held.annotation("pod.addresses"), Some("{}"));
        Ok(())
    });
}

#[test]
fn throughput_is_measured_on_the_attachment() {
    World::run("speed", |w| async move {
        let spec = network("lan", "10.85.0.0/24").with_uplink(IfName::new("net1")?);
        let name = spec.name.clone();
        w.networking().create(spec).await?;
        let (one, two) = (w.on("node-1").await?, w.on("node-2").await?);
        w.start_on(&one, "a", [AttachmentSpec::new(name.clone())]).await?;
        w.start_on(&two, "b", [AttachmentSpec::new(name.clone())]).await?;
        let count = "cat /sys/class/net/net1/statistics/rx_bytes /sys/class/net/eth0/statistics/rx_bytes";
        let bytes = 64 << 20;
        let test = w.backend.measure(&workload("a"), &workload("b"), &name, bytes).await?;
        println!("{:.0} MB/s, {:?}", test.bytes_per_second() / 1e6, test.reach);
        assert_eq!(test.bytes, bytes);
        let counted: Vec<u64> = w.sh("b", count).await?.lines().filter_map(|l| l.parse().ok()).collect();
        assert!(counted[0] > bytes && counted[1] < bytes / 100, "{counted:?}: it went by eth0");
        Ok(())
    });
}

#[test]
fn the_kubeconfig_of_the_lab_is_there() {
    assert!(kubeconfig_of().exists());
}
