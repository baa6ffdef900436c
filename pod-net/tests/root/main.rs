//! Tests on real links. Each runs in a process of its own, in network and mount namespaces made for
//! it, so that the host's links, mounts and firewall are never touched.

mod attach;
mod concurrency;
mod crash;
mod firewall;
mod isolate;
mod kernel;
mod plan;
mod probe;
mod refuse;
mod verify;
mod vlan;
mod wire;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};
use pod_net::KernelFeatures;
use world::World;

/// A test.
pub(crate) struct Case {
    name: &'static str,
    run: fn(World),
    /// What the kernel must have for the test to mean anything.
    needs: Need,
}

/// A kernel feature a test is about.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// None besides namespaces, bridges and veth pairs.
    Nothing,
    VlanFiltering,
    NoVlanFiltering,
    /// VLAN-aware bridges and 802.1Q sub-interfaces.
    Tags,
    Vlan8021q,
    NoVlan8021q,
    /// A second processor: what is timed would time the machine.
    TwoProcessors,
    /// A firewall that can be told to forward nothing.
    Iptables,
}

impl Need {
    fn met(self, kernel: &KernelFeatures) -> bool {
        match self {
            Self::Nothing => true,
            Self::VlanFiltering => kernel.vlan_filtering,
            Self::NoVlanFiltering => !kernel.vlan_filtering,
            Self::Tags => kernel.vlan_filtering && kernel.vlan_8021q,
            Self::Vlan8021q => kernel.vlan_8021q,
            Self::NoVlan8021q => !kernel.vlan_8021q,
            Self::TwoProcessors => std::thread::available_parallelism().is_ok_and(|n| n.get() > 1),
            Self::Iptables => {
                let tried =
                    std::process::Command::new("unshare").args(["-n", "iptables", "-P", "FORWARD", "DROP"]).output();
                tried.is_ok_and(|o| o.status.success())
            }
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::VlanFiltering => "needs CONFIG_BRIDGE_VLAN_FILTERING",
            Self::NoVlanFiltering => "needs a kernel without CONFIG_BRIDGE_VLAN_FILTERING",
            Self::Tags => "needs CONFIG_BRIDGE_VLAN_FILTERING and CONFIG_VLAN_8021Q",
            Self::Vlan8021q => "needs CONFIG_VLAN_8021Q",
            Self::NoVlan8021q => "needs a kernel without CONFIG_VLAN_8021Q",
            Self::TwoProcessors => "needs two processors",
            Self::Iptables => "needs iptables, and a kernel that knows its filter table",
        }
    }
}

impl Case {
    pub(crate) const fn new(name: &'static str, run: fn(World)) -> Self {
        Self { name, run, needs: Need::Nothing }
    }

    pub(crate) const fn on(name: &'static str, needs: Need, run: fn(World)) -> Self {
        Self { name, run, needs }
    }
}

const CASES: &[&[Case]] = &[
    attach::CASES,
    concurrency::CASES,
    crash::CASES,
    firewall::CASES,
    isolate::CASES,
    kernel::CASES,
    plan::CASES,
    probe::CASES,
    refuse::CASES,
    verify::CASES,
    vlan::CASES,
    wire::CASES,
];

/// Names the case a child process is to run.
const CHILD: &str = "POD_NET_CASE";
/// The case that only tells what the kernel has.
const FEATURES: &str = "features";

fn main() {
    if let Ok(name) = std::env::var(CHILD) {
        return child(&name);
    }
    let arguments = Arguments::from_args();
    let kernel = kernel();
    let trials = CASES.iter().copied().flatten().map(|case| {
        let trial = Trial::test(case.name, || run(case.name));
        if case.needs.met(&kernel) {
            trial
        } else {
            trial.with_kind(format!("not applicable: {}", case.needs.words())).with_ignored_flag(true)
        }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// What this kernel has, found by a process of its own.
pub(crate) fn kernel() -> KernelFeatures {
    let found = spawn(FEATURES).expect("the kernel's features");
    serde_json::from_slice(&found).expect("the kernel's features")
}

fn child(name: &str) {
    if let Some(work) = name.strip_prefix("work:") {
        return concurrency::work(work);
    }
    let world = World::enter();
    if name == FEATURES {
        let host = world.host();
        println!("{}", serde_json::to_string(host.kernel()).expect("text"));
        return;
    }
    let case = CASES.iter().copied().flatten().find(|c| c.name == name).expect("the case to run");
    (case.run)(world);
}

/// A process that is to run one case.
pub(crate) fn command(case: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.env(CHILD, case);
    command
}

fn spawn(name: &str) -> Result<Vec<u8>, String> {
    let output = command(name).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = [output.stdout, output.stderr].concat();
    Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&text)))
}

fn run(name: &str) -> Result<(), Failed> {
    let output = spawn(name)?;
    // figures and the like
    print!("{}", String::from_utf8_lossy(&output));
    Ok(())
}
