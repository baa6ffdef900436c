//! Proves that a topology is as its file says.

use super::deployment::{Deployment, Found};
use super::probes::{Node, ROUNDS, Survey, unasked};
use super::run::{OnFailure, Task, gather, run};
use super::{Matrix, Progress};
use crate::{Capability, Error, Finding, ProbeOutcome, ProbeRequest, ProbeTarget, Result, ResultExt, VerifyRequest};
use futures_util::{StreamExt, stream};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What [`verify`](Deployment::verify) found.
///
/// `Display` prints the matrix and a line for every finding.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verification {
    /// Who reaches whom.
    pub matrix: Matrix,
    /// What differs from the file, or from what the backends made, and where.
    pub findings: Vec<Finding>,
    /// How many things the backends read back.
    pub checked: usize,
    /// What could not be looked at, and why.
    pub notes: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Verification {
    /// Whether every pair is as expected and nothing differs.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.matrix.ok() && self.findings.is_empty()
    }
}

/// In JSON: `{ok, matrix, findings, checked, notes, seconds}`.
impl serde::Serialize for Verification {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut s = serializer.serialize_struct("Verification", 6)?;
        s.serialize_field("ok", &self.ok())?;
        s.serialize_field("matrix", &self.matrix)?;
        s.serialize_field("findings", &self.findings)?;
        s.serialize_field("checked", &self.checked)?;
        s.serialize_field("notes", &self.notes)?;
        s.serialize_field("seconds", &self.elapsed.as_secs_f64())?;
        s.end()
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.matrix.fmt(f)?;
        if !self.findings.is_empty() {
            write!(f, "\n{} findings:", self.findings.len())?;
        }
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}

impl Deployment {
    /// Compares what there is with the file, lets the backends read their networks back, and probes
    /// every ordered pair of workloads: all at once, so that a hundred workloads take seconds. Changes
    /// nothing.
    ///
    /// A pair counts as blocked only with a control: the same prober reached another workload, and the
    /// target answered someone, if only itself. For a prober whom the file gives no one to reach, its own
    /// answer and the backend's read-back of its interfaces stand in, and a note says so. Without a
    /// control the pair is unknown, with the reason.
    ///
    /// # Errors
    /// As [`plan`](Self::plan). What differs is in the result, not an error.
    pub async fn verify(&self, progress: &dyn Progress) -> Result<Verification> {
        let begun = Instant::now();
        let found = self.observe().await.operation("verify")?;
        let plan = self.plan_from(&found).await.operation("verify")?;
        let mut findings: Vec<Finding> = plan
            .changes
            .iter()
            .map(|change| Finding::new("the file", "nothing to change", change.to_string()))
            .collect();
        let mut notes = Vec::new();
        let checked = self.read_back(&found, &mut findings, &mut notes, progress).await.operation("verify")?;
        let survey = self.survey(&found);
        let sound = self.sound(&survey, &findings);
        let outcomes = self.ask(&survey, progress).await;
        let judgement = survey.judge(&outcomes, &sound);
        findings.extend(judgement.findings);
        if !judgement.trusted.is_empty() {
            let names: Vec<&str> = judgement.trusted.iter().map(crate::WorkloadName::as_str).collect();
            notes.push(format!(
                "the file gives no one to reach to {}: that nothing answers there rests on the workload's answer to \
                 itself and on the read-back of its interfaces",
                names.join(", ")
            ));
        }
        Ok(Verification { matrix: judgement.matrix, findings, checked, notes, elapsed: begun.elapsed() })
    }

    /// The workloads whose interfaces a backend read back without a finding about them or their networks.
    fn sound(&self, survey: &Survey, findings: &[Finding]) -> BTreeSet<usize> {
        let is_sound = |node: &Node| {
            let about = |f: &&Finding| match (&f.workload, &f.network) {
                (Some(workload), _) => *workload == node.name,
                (None, Some(network)) => node.is_on(network),
                (None, None) => false,
            };
            self.sites[node.site].has(Capability::Verify) && !findings.iter().any(|f| about(&f))
        };
        survey.nodes.iter().enumerate().filter(|(_, n)| is_sound(n)).map(|(i, _)| i).collect()
    }

    /// Lets the backends compare; gives how much they did.
    async fn read_back(
        &self,
        found: &[Found],
        findings: &mut Vec<Finding>,
        notes: &mut Vec<String>,
        progress: &dyn Progress,
    ) -> Result<usize> {
        let reports = Mutex::new((0, Vec::new()));
        let mut tasks = Vec::new();
        for (site, found) in self.sites.iter().zip(found) {
            let here = site.networks.values().map(|n| &n.name);
            let here: Vec<_> = here.filter(|n| found.networks.contains_key(*n)).collect();
            if !here.is_empty() && !site.has(Capability::Verify) {
                notes.push(format!("{} can't read its networks back", site.uri));
                continue;
            }
            for network in here {
                let reports = &reports;
                let work = async move {
                    let report = site.networking()?.verify(VerifyRequest::of(network.clone())).await?;
                    let mut all = reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    all.0 += report.checked;
                    all.1.extend(report.findings);
                    Ok(())
                };
                tasks.push(Task { what: format!("network {network}"), work: Box::pin(work) });
            }
        }
        gather(run("read back", tasks, 16, OnFailure::GoOn, progress).await)?;
        let (checked, differing) = reports.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        findings.extend(differing);
        Ok(checked)
    }

    /// Asks all questions of a survey; the outcomes come in their order.
    async fn ask(&self, survey: &Survey, progress: &dyn Progress) -> Vec<Vec<ProbeOutcome>> {
        let unanswered = Error::unexpected("it was never asked");
        let mut outcomes: Vec<Vec<ProbeOutcome>> = survey.asks.iter().map(|a| unasked(a, &unanswered)).collect();
        for (round, (jobs, timeout)) in ROUNDS.into_iter().enumerate() {
            let mut questions = Vec::new();
            for (f, asks) in survey.asks.iter().enumerate() {
                let open = |i: &usize| match &outcomes[f][*i] {
                    ProbeOutcome::Reached(_) => false,
                    ProbeOutcome::Unknown(_) => true,
                    ProbeOutcome::NoAnswer | ProbeOutcome::Refused(_) => asks[*i].again,
                };
                let open: Vec<usize> = (0..asks.len()).filter(open).collect();
                if !open.is_empty() {
                    questions.push((f, open));
                }
            }
            if questions.is_empty() {
                break;
            }
            progress.phase(if round == 0 { "probe" } else { "probe again" }, questions.len());
            let answers: Vec<_> = stream::iter(questions)
                .map(|(f, open)| async move {
                    let targets = open.iter().map(|i| survey.asks[f][*i].probe()).collect();
                    let answer = self.probe(survey, f, targets, timeout).await;
                    progress.step(survey.nodes[f].name.as_str());
                    (f, open, answer)
                })
                .buffer_unordered(jobs)
                .collect()
                .await;
            for (f, open, answer) in answers {
                for (n, i) in open.into_iter().enumerate() {
                    outcomes[f][i] = match &answer {
                        Ok(all) => all.get(n).cloned().unwrap_or_else(|| {
                            ProbeOutcome::Unknown("the backend gave fewer outcomes than it was asked for".into())
                        }),
                        Err(e) => ProbeOutcome::Unknown(e.to_string()),
                    };
                }
            }
        }
        outcomes
    }

    async fn probe(
        &self,
        survey: &Survey,
        f: usize,
        targets: Vec<ProbeTarget>,
        timeout: Duration,
    ) -> Result<Vec<ProbeOutcome>> {
        let site = &self.sites[survey.nodes[f].site];
        if !site.has(Capability::Probe) {
            return Err(Error::unsupported("this backend can't probe from inside a workload")
                .with_backend(site.uri.clone())
                .with_context("backend", site.uri.clone()));
        }
        let request = ProbeRequest::new(survey.nodes[f].name.clone(), targets).with_timeout(timeout);
        site.networking()?.probe(request).await
    }
}
