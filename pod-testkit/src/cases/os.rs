//! The operating system inside a real workload, by [`pod_core::os`].

use super::network::{SUBNET, vlan};
use crate::case::{address, cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::copy::FileType;
use pod_core::os::{Interface, LinkKind, Os, ProcessInfo, Removed};
use pod_core::{
    AttachMode, AttachmentSpec, Capability, ConnectionExt, ErrorKind, ExecRequest, ExitStatus, Limits, Route, Signal,
    WorkloadName,
};
use std::collections::BTreeSet;
use std::sync::Arc;

cases! { "os":
    facts_are_found [Create, Exec, ExecStdin];
    interfaces_are_as_attached [Create, Exec, Networks, VlanAccess, FixedIp, FixedMac, InterfaceName, Mtu];
    tagged_interfaces_tell_their_vlan [Create, Exec, Networks, VlanAccess, VlanTrunk, FixedIp];
    both_families_are_shown [Create, Exec, Networks, VlanAccess, FixedIp, Ipv6];
    a_hot_attachment_appears_and_goes [Create, Exec, Networks, VlanAccess, HotAttach];
    routes_are_shown [Create, Exec, Networks, VlanAccess, FixedIp, Routes];
    processes_are_listed_and_killed [Create, Exec];
    files_are_written_and_read [Create, Exec, ExecStdin];
    folders_are_listed [Create, Exec];
    what_is_missing_is_not_found [Create, Exec];
    disks_have_room [Create, Exec];
    memory_shows_its_limit [Create, Exec, LimitMemory];
    processors_show_their_limit [Create, Exec, LimitCpu];
    the_host_name_is_the_workloads [Create, Exec];
}

async fn os(lab: &Lab) -> Result<(WorkloadName, Os), Failure> {
    let (name, connection) = lab.running().await?;
    Ok((name, Os::detect(connection).await?))
}

/// The Os of a workload with these attachments.
async fn attached(lab: &Lab, attachments: Vec<AttachmentSpec>) -> Result<Os, Failure> {
    let spec = attachments.into_iter().fold(lab.spec()?, pod_core::WorkloadSpec::with_attachment);
    let workload = lab.start(spec).await?.spec.name;
    Ok(Os::detect(lab.backend().connect(&workload).await?).await?)
}

async fn facts_are_found(lab: &Lab) -> Outcome {
    let (_, os) = os(lab).await?;
    let facts = os.facts();
    for (what, text) in [("id", &facts.id), ("name", &facts.name), ("kernel", &facts.kernel), ("arch", &facts.arch)] {
        ensure!(!text.is_empty(), "the {what} is empty: {facts:?}");
    }
    ensure_eq!(facts.uid, 0, "the user");
    let told = os.connection().run(ExecRequest::new(["uname", "-s"])).await?.stdout_text();
    ensure_eq!(facts.kernel, told.trim(), "the kernel's name");
    Ok(())
}

async fn interfaces_are_as_attached(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec;
    let mut spec = AttachmentSpec::new(network.name)
        .with_interface("lan7".parse()?)
        .with_ip(address("10.231.0.77")?)
        .with_mac("02:5e:10:00:00:77".parse()?);
    spec.mtu = lab.has(Capability::AttachmentMtu).then_some(1380);
    let mtu = spec.mtu.unwrap_or(network.mtu);
    let os = attached(lab, vec![spec]).await?;
    let lan = os.interface("lan7").await?;
    ensure_eq!(
        lan.addresses.iter().map(ToString::to_string).collect::<Vec<_>>()[..1],
        ["10.231.0.77/24"],
        "the address"
    );
    ensure_eq!(lan.mac.map(|m| m.to_string()).as_deref(), Some("02:5e:10:00:00:77"), "the MAC address");
    ensure_eq!((lan.mtu, lan.up, lan.vlan), (Some(mtu), true, None), "MTU, whether it is up, and VLAN");
    let all = os.interfaces().await?;
    ensure!(all.iter().any(|i| i.kind == LinkKind::Loopback), "there is no loopback interface: {all:?}");
    expect_error(os.interface("nosuch0").await, ErrorKind::NotFound, "an interface that is not there")?;
    Ok(())
}

async fn tagged_interfaces_tell_their_vlan(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let mode = AttachMode::Trunk(vec![vlan(101)?, vlan(102)?]);
    let spec = AttachmentSpec::new(network).with_mode(mode).with_ip(address("10.231.0.9")?);
    let os = attached(lab, vec![spec]).await?;
    for id in [101, 102] {
        let found = os.interface(&format!("eth0.{id}")).await?;
        ensure_eq!(found.vlan, Some(vlan(id)?), "the VLAN of {}", found.name);
        ensure_eq!(found.parent.as_deref(), Some("eth0"), "the parent of {}", found.name);
        let has = found.addresses.iter().any(|a| a.to_string() == "10.231.0.9/24");
        ensure_eq!(has, id == 101, "whether {} has the address: {:?}", found.name, found.addresses);
    }
    Ok(())
}

async fn both_families_are_shown(lab: &Lab) -> Outcome {
    let spec = lab.network_spec(Some(101), &[SUBNET, "fd42:231::/64"])?;
    let network = spec.name.clone();
    lab.networking()?.create(spec).await?;
    let spec = AttachmentSpec::new(network).with_ip(address("10.231.0.9")?).with_ip(address("fd42:231::9")?);
    let os = attached(lab, vec![spec]).await?;
    let found = with_address(&os, "10.231.0.9/24").await?.addresses;
    ensure!(found.iter().any(|a| a.to_string() == "fd42:231::9/64"), "fd42:231::9/64 is not among {found:?}");
    Ok(())
}

/// The interface with this address: what it is called is the platform's affair.
async fn with_address(os: &Os, address: &str) -> Result<Interface, Failure> {
    let all = os.interfaces().await?;
    let found = all.iter().find(|i| i.addresses.iter().any(|a| a.to_string() == address)).cloned();
    found.ok_or_else(|| Failure::new(format!("no interface has {address}: {all:?}")))
}

async fn a_hot_attachment_appears_and_goes(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, os) = os(lab).await?;
    let names = async || Ok::<_, Failure>(os.interfaces().await?.into_iter().map(|i| i.name).collect::<BTreeSet<_>>());
    let before = names().await?;
    let made = super::network::attach(lab, &workload, AttachmentSpec::new(network.clone())).await?;
    let new: Vec<_> = names().await?.difference(&before).cloned().collect();
    ensure_eq!(new, [made.interface.as_str()], "the interfaces that were not there before");
    lab.networking()?.detach(pod_core::DetachRequest::new(workload, network)).await?;
    ensure_eq!(names().await?, before, "the interfaces after the detach");
    Ok(())
}

async fn routes_are_shown(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let net = |s: &str| s.parse::<ipnet::IpNet>().map_err(|_| Failure::new(s));
    let spec = AttachmentSpec::new(network)
        .with_ip(address("10.231.0.9")?)
        .with_route(Route { to: net("0.0.0.0/0")?, via: Some(address("10.231.0.254")?) })
        .with_route(Route { to: net("10.240.0.0/16")?, via: None });
    let os = attached(lab, vec![spec]).await?;
    let interface = with_address(&os, "10.231.0.9/24").await?.name;
    let all = os.routes().await?;
    for (to, via) in [("0.0.0.0/0", Some("10.231.0.254")), ("10.240.0.0/16", None), (SUBNET, None)] {
        let (to, via) = (net(to)?, via.map(address).transpose()?);
        let found =
            all.iter().find(|r| r.to == to).ok_or_else(|| Failure::new(format!("no route to {to}: {all:?}")))?;
        ensure_eq!((found.via, found.interface.as_deref()), (via, Some(interface.as_str())), "the route to {to}");
    }
    Ok(())
}

async fn processes_are_listed_and_killed(lab: &Lab) -> Outcome {
    let (_, os) = os(lab).await?;
    let mut process = os.connection().exec(ExecRequest::new(["sleep", "4321"])).await?;
    // By its name or by its path. Where a shell stands before it, it is that shell for a moment.
    let is_it = |p: &ProcessInfo| {
        p.args.len() == 2 && (p.args[0] == "sleep" || p.args[0].ends_with("/sleep")) && p.args[1] == "4321"
    };
    lab.eventually(5000, "the program is listed", || async { Ok(os.processes().await?.iter().any(is_it)) }).await?;
    let all = os.processes().await?;
    let found = all.iter().find(|p| is_it(p));
    let found = found.ok_or_else(|| Failure::new(format!("the program is not listed: {all:?}")))?;
    ensure_eq!((found.uid, found.user.as_str(), found.name.as_str()), (0, "root", "sleep"), "user and name");
    os.kill(found.pid, Signal::TERM).await?;
    let status = lab.within(5000, "the end", process.wait()).await??;
    ensure!(matches!(status, ExitStatus::Signaled(15) | ExitStatus::Exited(143)), "the killed program {status}");
    let all = os.processes().await?;
    ensure!(!all.iter().any(|p| p.pid == found.pid), "the killed program is listed");
    expect_error(os.kill(found.pid, Signal::TERM).await, ErrorKind::NotFound, "killing it again")?;
    Ok(())
}

async fn files_are_written_and_read(lab: &Lab) -> Outcome {
    let (_, os) = os(lab).await?;
    let content: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(300);
    for path in [&b"/tmp/plain"[..], b"/tmp/odd 'name' $x\n\xff"] {
        os.write_file(path, content.as_slice(), 0o640).await?;
        ensure!(os.read_file(path).await? == content, "what was read is not what was written");
        let stat = os.stat(path, true).await?.ok_or_else(|| Failure::new("the file is not there"))?;
        ensure_eq!((stat.kind, stat.size, stat.mode), (FileType::File, content.len() as u64, 0o640), "the status");
        os.write_file(path, "short", 0o600).await?;
        ensure_eq!(os.read_file(path).await?, b"short", "the file that was written again");
        ensure_eq!(os.remove(path, false).await?, Removed::Removed, "the removal");
        ensure_eq!(os.remove(path, false).await?, Removed::AlreadyAbsent, "the second removal");
        ensure!(!os.exists(path).await?, "the removed file is there");
    }
    Ok(())
}

async fn folders_are_listed(lab: &Lab) -> Outcome {
    let (_, os) = os(lab).await?;
    os.make_dir("/tmp/a/b/c", true).await?;
    os.make_dir("/tmp/a/b/c", true).await?;
    lab.sh(&**os.connection(), "cd /tmp/a; printf 12345 >file; ln -s file link; : >.hidden").await?;
    let mut found: Vec<_> = os
        .list_dir("/tmp/a")
        .await?
        .into_iter()
        .map(|e| {
            (String::from_utf8_lossy(e.name.as_bytes()).into_owned(), e.kind, e.target.map(|t| t.as_bytes().to_vec()))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        (".hidden", FileType::File, None),
        ("b", FileType::Dir, None),
        ("file", FileType::File, None),
        ("link", FileType::Symlink, Some(b"file".to_vec())),
    ];
    ensure_eq!(found, expected.map(|(n, k, t)| (n.to_owned(), k, t)), "the folder");
    ensure_eq!(os.list_dir("/tmp/a/b/c").await?.len(), 0, "how much is in an empty folder");
    ensure_eq!(os.remove("/tmp/a", true).await?, Removed::Removed, "the removal of the tree");
    Ok(())
}

async fn what_is_missing_is_not_found(lab: &Lab) -> Outcome {
    let (_, os) = os(lab).await?;
    expect_error(os.read_file("/no/such/file").await, ErrorKind::NotFound, "reading")?;
    expect_error(os.list_dir("/no/such/folder").await.map(|_| ()), ErrorKind::NotFound, "listing")?;
    ensure!(os.stat("/no/such/file", true).await?.is_none(), "the status of what is not there");
    expect_error(os.kill(4_000_000, Signal::TERM).await, ErrorKind::NotFound, "killing")?;
    Ok(())
}

async fn disks_have_room(lab: &Lab) -> Outcome {
    let (_, os) = os(lab).await?;
    let all = os.disks().await?;
    let root =
        all.iter().find(|d| d.mount.as_bytes() == b"/").ok_or_else(|| Failure::new(format!("no root: {all:?}")))?;
    ensure!(root.total > 0 && root.used <= root.total, "the root is {root:?}");
    Ok(())
}

async fn memory_shows_its_limit(lab: &Lab) -> Outcome {
    let limited = lab.start(lab.spec()?.with_limits(Limits::default().with_memory(256 << 20))).await?.spec.name;
    let os = Os::detect(lab.backend().connect(&limited).await?).await?;
    let memory = os.memory().await?;
    ensure!(memory.total > 0 && memory.available <= memory.total, "the memory is {memory:?}");
    // A limit that is shown is the right one.
    let right = memory.limit.map_or(!lab.target().limits_shown, |l| l == 256 << 20);
    ensure!(right, "the limit is {:?}", memory.limit);
    Ok(())
}

async fn processors_show_their_limit(lab: &Lab) -> Outcome {
    let limited = lab.start(lab.spec()?.with_limits(Limits::default().with_cpus(0.5))).await?.spec.name;
    let os = Os::detect(lab.backend().connect(&limited).await?).await?;
    let cpu = os.cpu().await?;
    ensure!(cpu.count > 0, "there is no processor");
    let right = cpu.limit.map_or(!lab.target().limits_shown, |l| (l - 0.5).abs() < 0.01);
    ensure!(right, "the limit is {:?}", cpu.limit);
    Ok(())
}

async fn the_host_name_is_the_workloads(lab: &Lab) -> Outcome {
    let (name, os) = os(lab).await?;
    ensure_eq!(os.hostname().await?, name.as_str(), "the host name");
    let first = os.boot_id().await?;
    ensure!(!first.is_empty(), "there is no boot id");
    ensure_eq!(os.boot_id().await?, first, "the boot id, asked again");
    let arc: Arc<dyn pod_core::Connection> = os.connection().clone();
    ensure_eq!(arc.workload(), &name, "the connection's workload");
    Ok(())
}
