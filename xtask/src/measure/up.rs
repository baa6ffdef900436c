//! Topologies: what one workload of many costs, and how long the proof of a hundred takes.

use super::table::{Row, Target, Times};
use super::world::{World, say};
use pod::prelude::*;
use pod::topology::{Deployment, Topology};
use std::time::Duration;

/// How often each size is brought up.
const RUNS: usize = 3;

/// Workloads on one VLAN.
const EACH: usize = 10;

/// The two sizes, in VLANs.
const SIZES: [usize; 2] = [1, 10];

/// How many things `pod up` does at once unless told.
const JOBS: usize = 16;

/// 10 workloads on one VLAN and 100 on ten, so that both have as many to a VLAN.
pub(crate) async fn up(world: &World) -> Result<Vec<Row>, Error> {
    let mut made: [Times; 2] = Default::default();
    let mut proven: [Times; 2] = Default::default();
    for run in 0..RUNS {
        for (size, vlans) in SIZES.into_iter().enumerate() {
            say(&format!("up of {} workloads, {} of {RUNS}", vlans * EACH, run + 1));
            let deployment = Deployment::on(world.backend.clone(), topology(vlans)?)?;
            let result = one(&deployment).await;
            let down = deployment.down(&()).await;
            let (up, verify) = result?;
            down?;
            made[size].add(up);
            proven[size].add(verify);
        }
    }
    let each = |size: usize| made[size].median() / u32::try_from(SIZES[size] * EACH).unwrap_or(u32::MAX);
    Ok(vec![
        Row {
            what: "`pod up`, each of 100 workloads on 10 VLANs, probes apart",
            own: each(1),
            peers: vec![("each of 10", each(0))],
            floor: None,
            targets: vec![Target::Ratio(1.2)],
        },
        Row {
            what: "proof of 100 workloads, 9,900 pairs",
            own: proven[1].median(),
            peers: vec![],
            floor: None,
            targets: vec![Target::AtMost(Duration::from_secs(15))],
        },
    ])
}

async fn one(deployment: &Deployment) -> Result<(Duration, Duration), Error> {
    let up = deployment.up(&(), JOBS).await?;
    let verification = deployment.verify(&()).await?;
    if verification.ok() {
        return Ok((up.elapsed, verification.elapsed));
    }
    Err(Error::new(ErrorKind::Integrity, format!("the topology is not as it should be:\n{verification}")))
}

/// The file of a topology with so many VLANs.
fn topology(vlans: usize) -> Result<Topology, Error> {
    let mut text = String::from("networks:\n");
    for vlan in 1..=vlans {
        text += &format!("  n{vlan}: {{ vlan: {vlan}, subnet: 10.{vlan}.0.0/24 }}\n");
    }
    text += "defaults: { image: host }\nworkloads:\n";
    for vlan in 1..=vlans {
        text += &format!("  w{vlan}: {{ count: {EACH}, networks: [n{vlan}] }}\n");
    }
    Topology::parse(&text, &format!("bench-{vlans}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sizes_have_as_many_workloads_to_a_vlan() {
        for vlans in SIZES {
            let topology = topology(vlans).expect("a topology");
            assert_eq!(topology.workloads.len(), vlans * EACH);
            assert_eq!(topology.networks.len(), vlans);
        }
    }
}
