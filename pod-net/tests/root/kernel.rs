//! What the kernel can do.

use crate::Case;
use crate::world::World;

pub(crate) const CASES: &[Case] = &[Case::new("the kernel can do what it is said to, and no more", told)];

/// Whether a command succeeds.
fn done(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let output = std::process::Command::new(words.next().expect("a program")).args(words).output();
    output.expect("run").status.success()
}

fn told(world: World) {
    let host = world.host();
    let kernel = host.kernel();
    // Asking made nothing.
    world.assert_clean();
    assert_eq!(kernel.bridge, done("ip link add b0 type bridge"), "bridges");
    assert_eq!(kernel.vlan_filtering, done("ip link set b0 type bridge vlan_filtering 1"), "VLAN-aware bridges");
    assert_eq!(kernel.veth, done("ip link add v0 master b0 type veth peer name v1"), "veth pairs");
    assert_eq!(kernel.port_isolation, done("bridge link set dev v0 isolated on"), "port isolation");
    assert_eq!(kernel.vlan_8021q, done("ip link add v1.2 link v1 type vlan id 2"), "802.1Q sub-interfaces");
    assert_eq!(kernel.ipv6, done("ip -6 addr add fd00::1/64 dev v1"), "IPv6");
}
