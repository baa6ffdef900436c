//! Builds two VLANs from code, puts two workloads on each, and proves that the one can't reach the
//! other, although both have the same subnet.
//!
//! ```text
//! vlans [BACKEND]
//! ```
//!
//! `pod up FILE` does the same from a topology file; here each step is taken by hand. A *blocked* counts
//! only with a control: the same prober reached someone else, and the target answered someone, if only
//! itself. Silence alone proves nothing: a broken prober is silent too.

use futures_util::future::try_join_all;
use pod::prelude::*;
use pod::{NetworkIntent, ProbeOutcome, ProbeRequest, ProbeTarget, VerifyRequest};
use pod_examples::{clean_up, finish, own_workload};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

/// One workload to be: its name's beginning, its VLAN, its address.
struct Member {
    stem: &'static str,
    vlan: u16,
    ip: IpAddr,
}

const fn member(stem: &'static str, vlan: u16, last: u8) -> Member {
    Member { stem, vlan, ip: IpAddr::V4(Ipv4Addr::new(10, 100, 0, last)) }
}

const MEMBERS: [Member; 4] =
    [member("a1", 100, 11), member("a2", 100, 12), member("b1", 200, 21), member("b2", 200, 22)];

#[tokio::main]
async fn main() -> ExitCode {
    finish(vlans(std::env::args().nth(1).as_deref()).await)
}

async fn vlans(backend: Option<&str>) -> Result<(), Error> {
    let registry = Registry::from_environment()?;
    let backend = registry.connect(&registry.default_backend(backend)?).await?;
    let networking = backend.require_networking()?;

    let networks = [network(100)?, network(200)?];
    let mut intent = NetworkIntent::default();
    for spec in &networks {
        intent = intent.with_network(spec.clone());
    }
    // A plan can be read before it is carried out, and is carried out whole or not at all.
    let plan = networking.plan(intent).await?;
    println!("{plan}");
    networking.apply(plan).await?;

    let result = prove(&*backend, &*networking).await;
    let result = clean_up(&*backend, result).await;
    for spec in &networks {
        networking.remove(&spec.name).await?;
    }
    result
}

/// The network of a VLAN. Both have the same subnet.
fn network(vlan: u16) -> Result<NetworkSpec, Error> {
    let subnet = "10.100.0.0/24".parse().map_err(|e| Error::invalid("no subnet").with_source(e))?;
    Ok(NetworkSpec::new(network_name(vlan)?).with_vlan(vlan.try_into()?).with_subnet(subnet))
}

fn network_name(vlan: u16) -> Result<NetworkName, Error> {
    NetworkName::new(format!("vlan-{vlan}-{}", std::process::id()))
}

async fn prove(backend: &dyn Backend, networking: &dyn Networking) -> Result<(), Error> {
    let mut names = Vec::new();
    for member in &MEMBERS {
        let attachment = AttachmentSpec::new(network_name(member.vlan)?).with_ip(member.ip);
        let spec = own_workload(member.stem)?.with_attachment(attachment);
        let workload = backend.create(CreateRequest::new(spec).with_start()).await?;
        names.push(workload.name().clone());
    }

    // Interfaces, bridges and addresses are read back, from inside the workloads too.
    let report = networking.verify(VerifyRequest::default()).await?;
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{} things read back, {} differ", report.checked, report.findings.len());

    // Every workload probes every address, its own included, and all of them at once: what is blocked
    // takes the whole time that an answer is given. No tool is needed in the workloads.
    let targets: Vec<_> = MEMBERS.iter().map(|m| ProbeTarget::new(m.ip)).collect();
    let asked = names.iter().map(|name| networking.probe(ProbeRequest::new(name.clone(), targets.clone())));
    let outcomes = try_join_all(asked).await?;
    judge(&outcomes.iter().map(|row| row.iter().map(ProbeOutcome::reached).collect()).collect::<Vec<Vec<bool>>>())
}

/// Compares what was reached with what should be, and prints it: who asks in rows, who is asked in
/// columns.
fn judge(reached: &[Vec<bool>]) -> Result<(), Error> {
    println!("    {}", MEMBERS.map(|m| format!("{:8}", m.stem)).concat());
    let mut wrong = Vec::new();
    for (from, row) in MEMBERS.iter().zip(reached) {
        let hears = MEMBERS.iter().zip(row).any(|(to, answered)| *answered && to.ip != from.ip);
        let mut line = String::new();
        for ((to, answered), column) in MEMBERS.iter().zip(row).zip(0..) {
            let control = hears && reached.iter().any(|row| row[column]);
            let (seen, good) = match (answered, from.vlan == to.vlan) {
                (true, same) => ("reached", same),
                (false, same) if control => ("blocked", !same),
                (false, _) => ("unknown", false),
            };
            line += &format!("{seen:8}");
            if !good {
                wrong.push(format!("{} to {}: {seen}", from.stem, to.stem));
            }
        }
        println!("{:4}{line}", from.stem);
    }
    if wrong.is_empty() {
        println!("as expected: who shares a VLAN is reached, all others are blocked");
        return Ok(());
    }
    Err(Error::new(ErrorKind::Integrity, "the VLANs are not as they should be").with_context("pairs", wrong.join(", ")))
}
