//! What answers prove, and what they don't.

use super::deployment::{Deployment, Found};
use super::probes::Survey;
use super::{Matrix, Measured, Topology};
use crate::{
    Attachment, Finding, IfName, LABEL_TOPOLOGY, MacAddr, NetworkName, ProbeOutcome, ProbeTarget, State, Workload,
    WorkloadName, WorkloadSpec,
};
use std::collections::BTreeSet;
use std::time::Duration;

fn name(n: &str) -> WorkloadName {
    WorkloadName::new(n).expect("name")
}

/// A workload as it is: its name and its interfaces, each `INTERFACE NETWORK ADDRESS`.
type There<'a> = (&'a str, &'a [&'a str]);

fn found(all: &[There<'_>]) -> Found {
    let mut found = Found::default();
    for (w, interfaces) in all {
        let mut workload = Workload::new(WorkloadSpec::new(name(w)).with_label(LABEL_TOPOLOGY, "t"), *w);
        workload.state = State::Running { command: None };
        found.workloads.insert(name(w), workload);
        for text in *interfaces {
            let words: Vec<&str> = text.split(' ').collect();
            let network = NetworkName::new(words[1]).expect("network");
            let mac = MacAddr::derived(text.as_bytes());
            let mut a = Attachment::new(name(w), network, IfName::new(words[0]).expect("interface"), mac, 1500);
            a.ips = vec![format!("{}/24", words[2]).parse().expect("ip")];
            found.attachments.push(a);
        }
    }
    found
}

fn survey(file: &str, found: Found) -> Survey {
    let topology = Topology::parse(file, "t").expect("topology");
    let homes = vec![0; topology.workloads.len()];
    Deployment { topology, sites: Vec::new(), homes }.survey(&[found])
}

/// The matrix when the questions are answered so.
fn judge(survey: &Survey, answers: impl Fn(&str, &ProbeTarget) -> bool) -> (Matrix, Vec<Finding>) {
    judge_with(survey, |from, to| {
        if answers(from, to) { ProbeOutcome::Reached(Duration::from_millis(1)) } else { ProbeOutcome::NoAnswer }
    })
}

fn judge_with(survey: &Survey, answers: impl Fn(&str, &ProbeTarget) -> ProbeOutcome) -> (Matrix, Vec<Finding>) {
    let ask = |(node, asks): (&super::probes::Node, &Vec<super::probes::Ask>)| {
        asks.iter().map(|a| answers(node.name.as_str(), &a.probe())).collect()
    };
    let outcomes: Vec<Vec<ProbeOutcome>> = survey.nodes.iter().zip(&survey.asks).map(ask).collect();
    let judgement = survey.judge(&outcomes, &BTreeSet::new());
    (judgement.matrix, judgement.findings)
}

fn unknown<'a>(matrix: &'a Matrix, from: &str, to: &str) -> &'a str {
    match &matrix.cell(from, to).expect("cell").measured {
        Measured::Unknown(why) => why,
        other => panic!("{from} {to} is {other}"),
    }
}

fn measured(matrix: &Matrix, from: &str, to: &str) -> Measured {
    matrix.cell(from, to).expect("cell").measured.clone()
}

const TWO: &str = "networks: { blue: { subnet: 10.0.0.0/24 }, red: { subnet: 10.0.0.0/24 } }\n\
                   workloads: { a1: { networks: [blue] }, a2: { networks: [blue] }, b1: { networks: [red] }, b2: { networks: [red] } }";

fn four() -> Found {
    found(&[
        ("a1", &["eth0 blue 10.0.0.11"]),
        ("a2", &["eth0 blue 10.0.0.12"]),
        ("b1", &["eth0 red 10.0.0.21"]),
        ("b2", &["eth0 red 10.0.0.22"]),
    ])
}

/// Whether the asker and the address are of the same colour, or the same.
fn by_colour(from: &str, to: &ProbeTarget) -> bool {
    (from.starts_with('a')) == (to.ip.to_string().starts_with("10.0.0.1"))
}

#[test]
fn blocked_is_proven_by_controls() {
    let survey = survey(TWO, four());
    // Three others and itself, one address each.
    assert!(survey.asks.iter().all(|a| a.len() == 4));
    let (matrix, findings) = judge(&survey, by_colour);
    assert!(matrix.ok() && findings.is_empty(), "{matrix}");
    assert_eq!(matrix.cells.iter().filter(|c| c.measured == Measured::Blocked).count(), 8);
}

#[test]
fn a_prober_that_reaches_no_one_proves_nothing() {
    let survey = survey(TWO, four());
    // Its own address answers; the wire does not.
    let (matrix, _) = judge(&survey, |from, to| match from {
        "a1" => to.interface.is_none(),
        _ => by_colour(from, to),
    });
    assert!(!matrix.ok());
    assert_eq!(unknown(&matrix, "a1", "b1"), "no answer, and no control: a1 reached no other workload");
    assert!(unknown(&matrix, "a1", "a2").starts_with("no answer, and no control"));
    assert_eq!(measured(&matrix, "b1", "a1"), Measured::Blocked, "b1 reached b2, and a2 reached a1");
}

#[test]
fn a_target_that_answers_no_one_proves_nothing() {
    let survey = survey(TWO, four());
    let (matrix, _) = judge(&survey, |from, to| by_colour(from, to) && to.ip.to_string() != "10.0.0.21");
    assert_eq!(unknown(&matrix, "a1", "b1"), "no answer, and no control: b1 did not answer at 10.0.0.21 even itself");
    assert_eq!(measured(&matrix, "a1", "b2"), Measured::Blocked, "b2 answered itself");
}

#[test]
fn a_leak_is_reach_whatever_was_expected() {
    let survey = survey(TWO, four());
    let (matrix, _) =
        judge(&survey, |from, to| by_colour(from, to) || (from == "a1" && to.ip.to_string() == "10.0.0.21"));
    assert_eq!(matrix.differing().map(|c| format!("{} {}", c.from, c.to)).collect::<Vec<_>>(), ["a1 b1"]);
    assert!(matches!(measured(&matrix, "a1", "b1"), Measured::Reached(_)));
}

#[test]
fn who_does_not_run_is_unknown_and_says_so() {
    let mut there = four();
    there.workloads.get_mut(&name("a2")).expect("a2").state = State::Created;
    there.workloads.remove(&name("b2"));
    let survey = survey(TWO, there);
    assert!(survey.asks[1].is_empty(), "nothing is asked from what does not run");
    let (matrix, _) = judge(&survey, by_colour);
    assert_eq!(unknown(&matrix, "a1", "a2"), "a2 does not run: created");
    assert_eq!(unknown(&matrix, "a2", "b1"), "a2 does not run: created");
    assert_eq!(unknown(&matrix, "b1", "b2"), "b2 does not exist");
}

#[test]
fn what_could_not_be_asked_is_unknown() {
    let survey = survey(TWO, four());
    let (matrix, _) = judge_with(&survey, |from, to| match (from, by_colour(from, to)) {
        ("b2", _) => ProbeOutcome::Unknown("no socket".into()),
        (_, true) => ProbeOutcome::Reached(Duration::from_millis(1)),
        (_, false) => ProbeOutcome::Refused("network is unreachable".into()),
    });
    assert_eq!(unknown(&matrix, "b2", "a1"), "no socket");
    assert_eq!(unknown(&matrix, "b2", "b1"), "no socket");
    assert_eq!(measured(&matrix, "a1", "b1"), Measured::Blocked, "to be told that there is no way is no answer");
}

#[test]
fn an_address_that_another_has_there_too_is_not_mistaken() {
    // b1 has on red the address that a2 has on blue.
    let file = TWO.replace("b1: {", "a3: { networks: [blue] }, b1: {");
    let survey = survey(
        &file,
        found(&[
            ("a1", &["eth0 blue 10.0.0.11"]),
            ("a2", &["eth0 blue 10.0.0.12"]),
            ("a3", &["eth0 blue 10.0.0.13"]),
            ("b1", &["eth0 red 10.0.0.12"]),
            ("b2", &["eth0 red 10.0.0.22"]),
        ]),
    );
    let there = |from: &str, to: &ProbeTarget| {
        let of: &[&str] =
            if from.starts_with('a') { &["10.0.0.11", "10.0.0.12", "10.0.0.13"] } else { &["10.0.0.12", "10.0.0.22"] };
        of.contains(&to.ip.to_string().as_str())
    };
    let (matrix, _) = judge(&survey, there);
    let also =
        |who: &str, on: &str| format!("the address 10.0.0.12 also belongs to {who}, who may have answered on {on}");
    assert_eq!(unknown(&matrix, "a1", "b1"), also("a2", "blue"));
    assert_eq!(unknown(&matrix, "a2", "b1"), also("a2", "blue"), "its own address answers it");
    assert_eq!(unknown(&matrix, "b2", "a2"), also("b1", "red"));
    assert!(matches!(measured(&matrix, "a1", "a2"), Measured::Reached(_)), "a2 is on a1's own network");
    assert!(matches!(measured(&matrix, "b2", "b1"), Measured::Reached(_)));
    assert_eq!(measured(&matrix, "b2", "a1"), Measured::Blocked);
    // When neither of the two answers, that proves as much as ever.
    let (matrix, _) = judge(&survey, |from, to| there(from, to) && !(from == "a1" && to.ip.to_string() == "10.0.0.12"));
    assert_eq!(measured(&matrix, "a1", "b1"), Measured::Blocked);
}

#[test]
fn every_interface_asks_every_address_of_who_should_be_blocked() {
    let file = "networks: { n: { subnet: 10.0.0.0/24 }, quiet: { subnet: 10.1.0.0/24, isolated: true } }\n\
                workloads:\n  m: { networks: [n] }\n  g1: { networks: [n, quiet] }\n  g2: { networks: [quiet] }\n";
    let there = found(&[
        ("m", &["eth0 n 10.0.0.1"]),
        ("g1", &["eth0 n 10.0.0.2", "eth1 quiet 10.1.0.1"]),
        ("g2", &["eth0 quiet 10.1.0.2"]),
    ]);
    let survey = survey(file, there);
    let asked = |from: usize, target: usize| {
        let of = survey.asks[from].iter().filter(|a| a.target == target).map(super::probes::Ask::probe);
        of.map(|p| format!("{} {}", p.interface.map(|i| i.to_string()).unwrap_or_default(), p.ip)).collect::<Vec<_>>()
    };
    assert_eq!(asked(0, 1), ["eth0 10.0.0.2"], "where they should reach each other, only there");
    assert_eq!(asked(0, 2), ["eth0 10.1.0.2"]);
    assert_eq!(asked(1, 2), ["eth0 10.1.0.2", "eth1 10.1.0.2"]);
    assert_eq!(asked(2, 1), ["eth0 10.0.0.2", "eth0 10.1.0.1"]);
    assert_eq!(asked(1, 1), [" 10.0.0.2", " 10.1.0.1"], "its own, by no interface");
}

#[test]
fn a_silent_address_of_a_reached_workload_is_a_finding() {
    let file = "networks: { n: { subnet: 10.0.0.0/24 }, m: { subnet: 10.1.0.0/24 } }\n\
                workloads: { a: { networks: [n, m] }, b: { networks: [n, m] } }";
    let there =
        found(&[("a", &["eth0 n 10.0.0.1", "eth1 m 10.1.0.1"]), ("b", &["eth0 n 10.0.0.2", "eth1 m 10.1.0.2"])]);
    let survey = survey(file, there);
    let (matrix, findings) = judge(&survey, |from, to| !(from == "a" && to.ip.to_string() == "10.1.0.2"));
    assert!(matrix.ok());
    assert_eq!(
        findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["network m: workload a: eth1, asking 10.1.0.2 of b: expected an answer, found none"]
    );
}

#[test]
fn without_an_interface_or_address_nothing_is_known() {
    let survey = survey(TWO, found(&[("a1", &[]), ("a2", &["eth0 blue 10.0.0.12"]), ("b1", &[]), ("b2", &[])]));
    let (matrix, _) = judge(&survey, |_, _| true);
    assert_eq!(unknown(&matrix, "a1", "a2"), "a1 has no interface to ask by");
    assert_eq!(unknown(&matrix, "a2", "a1"), "a1 has no address to ask");
}

#[test]
fn the_read_back_stands_in_for_who_has_no_one_to_reach() {
    let file = "networks: { n: { subnet: 10.0.0.0/24 }, m: { subnet: 10.0.0.0/24 } }\n\
                workloads: { a: { networks: [n] }, b: { networks: { m: { ip: 10.0.0.9 } } } }";
    let survey = survey(file, found(&[("a", &["eth0 n 10.0.0.1"]), ("b", &["eth0 m 10.0.0.9"])]));
    assert_eq!(survey.lonely().collect::<Vec<_>>(), [0, 1]);
    let outcomes = |own: bool| -> Vec<Vec<ProbeOutcome>> {
        let answer = |a: &super::probes::Ask| match a.probe().interface {
            None if own => ProbeOutcome::Reached(Duration::ZERO),
            _ => ProbeOutcome::NoAnswer,
        };
        survey.asks.iter().map(|asks| asks.iter().map(answer).collect()).collect()
    };
    let judgement = survey.judge(&outcomes(true), &BTreeSet::from([0, 1]));
    assert!(judgement.matrix.ok(), "{}", judgement.matrix);
    assert_eq!(judgement.trusted, [name("a"), name("b")]);
    let matrix = survey.judge(&outcomes(true), &BTreeSet::from([0])).matrix;
    assert_eq!(measured(&matrix, "a", "b"), Measured::Blocked);
    assert!(unknown(&matrix, "b", "a").contains("no control: b reached no other workload"));
    let matrix = survey.judge(&outcomes(false), &BTreeSet::from([0, 1])).matrix;
    assert!(unknown(&matrix, "a", "b").contains("no control: a reached no other workload"));
    // Who has someone to reach must reach someone.
    assert_eq!(self::survey(TWO, four()).lonely().count(), 0);
}
