//! The parts of a lab, and their start: each as soon as those it needs are ready.

use super::docker::Docker;
use super::process::{self, Program, Record};
use super::site::Lab;
use super::{
    addons, certificates, cluster, containerd, control, etcd, kubelet, network, node, podman, proxy, registry,
};
use crate::report::span;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Something a lab is made of: a server, or a step that leaves no process behind.
pub(super) trait Part: Debug + Send + Sync {
    /// Its name, as `cargo xtask lab stop` takes it.
    fn name(&self) -> String;

    /// The parts that have to be ready first.
    fn needs(&self) -> Vec<String> {
        Vec::new()
    }

    /// Makes what it runs on: files, links. Called before each start; what is there is kept.
    fn prepare(&self, lab: &Lab) -> Result<(), String>;

    /// Its program, if it is a server.
    fn program(&self, _lab: &Lab) -> Result<Option<Program>, String> {
        Ok(None)
    }

    /// One look at whether it does its work; else why not yet.
    fn ready(&self, lab: &Lab) -> Result<(), String>;

    /// What is to be done once it is ready.
    fn settle(&self, _lab: &Lab) -> Result<(), String> {
        Ok(())
    }

    /// How long it may take to become ready; long enough for a machine that is busy with other work.
    fn limit(&self) -> Duration {
        Duration::from_secs(180)
    }
}

/// All the parts of a lab.
pub(super) fn all(lab: &Lab) -> Vec<Box<dyn Part>> {
    let mut parts: Vec<Box<dyn Part>> = vec![
        Box::new(network::Network),
        Box::new(certificates::Certificates),
        Box::new(etcd::Etcd),
        Box::new(control::ApiServer),
        Box::new(control::ControllerManager),
        Box::new(control::Scheduler),
        Box::new(addons::Addons),
        Box::new(Docker::Packaged),
        Box::new(podman::Podman),
    ];
    if !lab.small {
        parts.push(Box::new(Docker::Built));
        parts.push(Box::new(registry::Registry));
    }
    for n in lab.nodes() {
        parts.push(Box::new(node::NodeRoot(n)));
        parts.push(Box::new(containerd::Containerd(n)));
        parts.push(Box::new(kubelet::Kubelet(n)));
        parts.push(Box::new(proxy::Proxy(n)));
    }
    parts.push(Box::new(cluster::Cluster));
    parts
}

/// A part by its name.
pub(super) fn find(lab: &Lab, name: &str) -> Result<Box<dyn Part>, String> {
    let parts = all(lab);
    let servers = servers(lab);
    match parts.into_iter().find(|p| p.name() == name) {
        Some(part) if servers.contains(&part.name()) => Ok(part),
        Some(_) => Err(format!("{name} is a step, not a server; the servers are {}", servers.join(", "))),
        None => Err(format!("no part {name}; the servers are {}", servers.join(", "))),
    }
}

/// The names of the parts that are servers.
pub(super) fn servers(lab: &Lab) -> Vec<String> {
    let mut servers =
        vec!["etcd", "apiserver", "controller-manager", "scheduler", Docker::Packaged.name(), podman::NAME];
    if !lab.small {
        servers.extend([Docker::Built.name(), registry::NAME]);
    }
    let servers = servers.into_iter().map(String::from);
    let each = ["node", "containerd", "kubelet", "proxy"];
    servers.chain(lab.nodes().flat_map(|n| each.map(|e| format!("{e}-{}", n.0)))).collect()
}

/// Starts a part and waits until it is ready. One that runs is only waited for.
pub(super) fn start(lab: &Lab, part: &dyn Part) -> Result<(), String> {
    let name = part.name();
    part.prepare(lab).map_err(|e| format!("{name}: {e}"))?;
    let mut running = None;
    if let Some(program) = part.program(lab).map_err(|e| format!("{name}: {e}"))? {
        let there = Record::load(&lab.name, &name).filter(|r| r.alive());
        running = Some(match there {
            Some(record) => record,
            None => process::launch(lab, &name, &program)?,
        });
    }
    let until = Instant::now() + part.limit();
    while let Err(why) = part.ready(lab) {
        if running.is_some_and(|r| !r.alive()) {
            return Err(format!("{name} ended while it started:{}", process::last_words(&lab.name, &name)));
        }
        if Instant::now() > until {
            let words = process::last_words(&lab.name, &name);
            return Err(format!("{name} is not ready after {}: {why}{words}", span(part.limit())));
        }
        std::thread::sleep(process::POLL);
    }
    part.settle(lab).map_err(|e| format!("{name}: {e}"))
}

/// Which parts are ready, and whether any failed.
#[derive(Debug, Default)]
struct Board {
    ready: BTreeMap<String, bool>,
    failed: Vec<String>,
}

/// Starts parts, each when those it needs are ready, and says when each is.
pub(super) fn start_all(lab: &Lab, parts: &[Box<dyn Part>], say: impl Fn(&str) + Sync) -> Result<(), String> {
    check_order(parts)?;
    let board = Mutex::new(Board::default());
    let changed = Condvar::new();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for part in parts {
            let (board, changed, say) = (&board, &changed, &say);
            scope.spawn(move || {
                let needs = part.needs();
                let waiting = |b: &mut Board| b.failed.is_empty() && !needs.iter().all(|n| b.ready.contains_key(n));
                let guard = board.lock().unwrap_or_else(PoisonError::into_inner);
                let guard = changed.wait_while(guard, waiting).unwrap_or_else(PoisonError::into_inner);
                if !guard.failed.is_empty() {
                    return;
                }
                drop(guard);
                let since = Instant::now();
                let done = start(lab, part.as_ref());
                let mut guard = board.lock().unwrap_or_else(PoisonError::into_inner);
                match done {
                    Ok(()) => {
                        say(&format!(
                            "{:>6.1} s  {} ({})",
                            begun.elapsed().as_secs_f64(),
                            part.name(),
                            span(since.elapsed())
                        ));
                        guard.ready.insert(part.name(), true);
                    }
                    Err(why) => guard.failed.push(why),
                }
                changed.notify_all();
            });
        }
    });
    let board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    if board.failed.is_empty() { Ok(()) } else { Err(board.failed.join("\n")) }
}

/// Every need is met by a part, and none waits for itself.
fn check_order(parts: &[Box<dyn Part>]) -> Result<(), String> {
    let mut left: Vec<_> = parts.iter().map(|p| (p.name(), p.needs())).collect();
    let mut ready: Vec<String> = Vec::new();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|(name, needs)| {
            let now = needs.iter().all(|n| ready.contains(n));
            if now {
                ready.push(name.clone());
            }
            !now
        });
        if left.len() == before {
            let names: Vec<_> = left.iter().map(|(name, _)| name.as_str()).collect();
            return Err(format!("these parts wait for each other, or for one there is not: {}", names.join(", ")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(nodes: u8, small: bool) -> Lab {
        Lab { name: "t".into(), nodes, small, cache: "/c".into(), programs: Vec::new(), image: "/i".into() }
    }

    #[derive(Debug)]
    struct Step(&'static str, &'static [&'static str], bool);

    impl Part for Step {
        fn name(&self) -> String {
            self.0.into()
        }

        fn needs(&self) -> Vec<String> {
            self.1.iter().map(|n| (*n).to_owned()).collect()
        }

        fn prepare(&self, _: &Lab) -> Result<(), String> {
            if self.2 { Ok(()) } else { Err("no".into()) }
        }

        fn ready(&self, _: &Lab) -> Result<(), String> {
            Ok(())
        }
    }

    fn names(parts: &[Box<dyn Part>]) -> Result<Vec<String>, String> {
        let said = Mutex::new(Vec::new());
        let done = start_all(&lab(1, true), parts, |line| {
            let name = line.split_whitespace().nth(2).unwrap_or_default().to_owned();
            said.lock().expect("names").push(name);
        });
        done.map(|()| said.into_inner().expect("names"))
    }

    #[test]
    fn a_part_starts_after_those_it_needs() {
        let parts: Vec<Box<dyn Part>> =
            vec![Box::new(Step("c", &["b"], true)), Box::new(Step("b", &["a"], true)), Box::new(Step("a", &[], true))];
        assert_eq!(names(&parts).expect("a start"), ["a", "b", "c"]);
    }

    #[test]
    fn what_needs_a_part_that_failed_is_not_started() {
        let parts: Vec<Box<dyn Part>> = vec![Box::new(Step("b", &["a"], true)), Box::new(Step("a", &[], false))];
        assert_eq!(names(&parts).expect_err("a failure"), "a: no");
    }

    #[test]
    fn parts_in_a_circle_are_refused() {
        let parts: Vec<Box<dyn Part>> = vec![Box::new(Step("b", &["a"], true)), Box::new(Step("a", &["b"], true))];
        assert!(names(&parts).expect_err("a circle").contains("b, a"));
        let parts: Vec<Box<dyn Part>> = vec![Box::new(Step("b", &["x"], true))];
        assert!(names(&parts).is_err());
    }

    #[test]
    fn the_parts_of_every_size_have_an_order_and_the_servers_are_among_them() {
        for (nodes, small) in (1..=super::super::site::MOST_NODES).flat_map(|n| [(n, true), (n, false)]) {
            let lab = lab(nodes, small);
            let parts = all(&lab);
            assert_eq!(check_order(&parts), Ok(()));
            let names: Vec<_> = parts.iter().map(|p| p.name()).collect();
            for server in servers(&lab) {
                assert!(names.contains(&server), "{server}");
            }
        }
        assert!(find(&lab(1, false), "kubelet-2").is_err());
        assert!(find(&lab(2, false), "network").expect_err("a step").contains("kubelet-2"));
    }
}
