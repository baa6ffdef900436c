//! Changes are planned, applied as one, or rolled back.

use super::network::{SUBNET, attachments_of, verified};
use crate::case::{address, cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::{
    AttachNetworkRequest, AttachmentSpec, DetachRequest, ErrorKind, NetworkIntent, NetworkName, NetworkPlan,
    NetworkSpec, NetworkStep, WorkloadName,
};

cases! { "plan":
    an_intent_becomes_steps [Create, Networks, VlanAccess, HotAttach, FixedIp, Plan];
    a_plan_changes_nothing [Create, Networks, VlanAccess, HotAttach, FixedIp, Plan];
    what_is_true_needs_no_step [Create, Networks, VlanAccess, HotAttach, FixedIp, Plan];
    only_the_difference_is_done [Create, Networks, VlanAccess, HotAttach, FixedIp, Plan];
    what_is_unwanted_goes [Create, Networks, VlanAccess, HotAttach, FixedIp, Plan];
    what_is_not_named_is_left_alone [Create, Networks, VlanAccess, HotAttach, FixedIp, Plan];
    mistakes_are_found [Create, Networks, VlanAccess, HotAttach, FixedIp, Plan];
    a_failed_step_rolls_all_back [Create, Networks, VlanAccess, HotAttach, FixedIp, Plan];
    an_empty_plan_is_applied [Networks, Plan];
}

/// A network that is not there, and a running workload that is to be on it.
async fn wanted(lab: &Lab) -> Result<(NetworkSpec, WorkloadName, NetworkIntent), Failure> {
    let spec = lab.network_spec(Some(101), &[SUBNET])?;
    let (workload, _) = lab.running().await?;
    let intent = NetworkIntent::default().with_network(spec.clone()).with_attachment(request(
        &workload,
        &spec.name,
        "10.231.0.10",
    )?);
    Ok((spec, workload, intent))
}

fn request(workload: &WorkloadName, network: &NetworkName, ip: &str) -> Result<AttachNetworkRequest, Failure> {
    Ok(AttachNetworkRequest::new(workload.clone(), AttachmentSpec::new(network.clone()).with_ip(address(ip)?)))
}

async fn apply(lab: &Lab, intent: NetworkIntent) -> Result<NetworkPlan, Failure> {
    let networking = lab.networking()?;
    let plan = networking.plan(intent).await?;
    let applied = networking.apply(plan.clone()).await?;
    ensure_eq!(applied.steps, plan.steps.len(), "how many steps were carried out");
    let attached = plan.steps.iter().filter(|s| matches!(s, NetworkStep::Attach(_))).count();
    ensure_eq!(applied.attachments.len(), attached, "how many attachments were made");
    Ok(plan)
}

async fn exists(lab: &Lab, network: &NetworkName) -> Result<bool, Failure> {
    Ok(lab.networking()?.list().await?.iter().any(|n| n.spec.name == *network))
}

async fn an_intent_becomes_steps(lab: &Lab) -> Outcome {
    let (spec, workload, intent) = wanted(lab).await?;
    let plan = apply(lab, intent).await?;
    let kinds: Vec<_> = plan
        .steps
        .iter()
        .map(|s| match s {
            NetworkStep::CreateNetwork(n) => format!("create {}", n.name),
            NetworkStep::Attach(a) => format!("attach {}", a.workload),
            other => format!("{other:?}"),
        })
        .collect();
    ensure_eq!(kinds, [format!("create {}", spec.name), format!("attach {workload}")], "the steps");
    let text = plan.to_string();
    for word in [spec.name.as_str(), workload.as_str(), "10.231.0.10"] {
        ensure!(text.contains(word), "the printed plan does not name {word}: {text}");
    }
    let found = attachments_of(lab, &workload).await?;
    ensure_eq!(found.iter().map(|a| a.ips[0].to_string()).collect::<Vec<_>>(), ["10.231.0.10/24"], "what was made");
    verified(lab, &spec.name).await
}

async fn a_plan_changes_nothing(lab: &Lab) -> Outcome {
    let (spec, workload, intent) = wanted(lab).await?;
    let first = lab.networking()?.plan(intent.clone()).await?;
    ensure!(!first.is_empty(), "there is nothing to do");
    ensure!(!exists(lab, &spec.name).await?, "the plan made the network");
    ensure_eq!(attachments_of(lab, &workload).await?, [], "what the plan attached");
    ensure_eq!(lab.networking()?.plan(intent).await?, first, "the second plan");
    Ok(())
}

async fn what_is_true_needs_no_step(lab: &Lab) -> Outcome {
    let (_, _, intent) = wanted(lab).await?;
    apply(lab, intent.clone()).await?;
    let again = lab.networking()?.plan(intent).await?;
    ensure!(again.is_empty(), "a second plan of the same would do: {again}");
    Ok(())
}

async fn only_the_difference_is_done(lab: &Lab) -> Outcome {
    let (spec, workload, intent) = wanted(lab).await?;
    apply(lab, intent).await?;
    let (other, _) = lab.running().await?;
    let changed = NetworkIntent::default()
        .with_network(spec.clone())
        .with_attachment(request(&workload, &spec.name, "10.231.0.20")?)
        .with_attachment(request(&other, &spec.name, "10.231.0.10")?);
    let plan = apply(lab, changed.clone()).await?;
    ensure!(
        !plan.steps.iter().any(|s| matches!(s, NetworkStep::CreateNetwork(_) | NetworkStep::RemoveNetwork(_))),
        "the network was made anew: {plan}"
    );
    for (w, ip) in [(&workload, "10.231.0.20/24"), (&other, "10.231.0.10/24")] {
        let found = attachments_of(lab, w).await?;
        ensure_eq!(found.iter().map(|a| a.ips[0].to_string()).collect::<Vec<_>>(), [ip], "the address of {w}");
    }
    ensure!(lab.networking()?.plan(changed).await?.is_empty(), "something is left to do");
    verified(lab, &spec.name).await
}

async fn what_is_unwanted_goes(lab: &Lab) -> Outcome {
    let (spec, workload, intent) = wanted(lab).await?;
    apply(lab, intent).await?;
    let gone = NetworkIntent::default()
        .without_attachment(DetachRequest::new(workload.clone(), spec.name.clone()))
        .without_network(spec.name.clone());
    let plan = apply(lab, gone.clone()).await?;
    ensure_eq!(plan.steps.len(), 2, "how many steps there were");
    ensure!(!exists(lab, &spec.name).await?, "the network is still there");
    ensure_eq!(attachments_of(lab, &workload).await?, [], "what is attached");
    let again = lab.networking()?.plan(gone).await?;
    ensure!(again.is_empty(), "what is gone is to go again: {again}");
    Ok(())
}

async fn what_is_not_named_is_left_alone(lab: &Lab) -> Outcome {
    let (spec, workload, intent) = wanted(lab).await?;
    apply(lab, intent).await?;
    let before = attachments_of(lab, &workload).await?;
    let other = lab.network_spec(Some(102), &["10.232.0.0/24"])?;
    apply(lab, NetworkIntent::default().with_network(other.clone())).await?;
    ensure!(exists(lab, &spec.name).await? && exists(lab, &other.name).await?, "a network is gone");
    ensure_eq!(attachments_of(lab, &workload).await?, before, "the attachments");
    Ok(())
}

async fn mistakes_are_found(lab: &Lab) -> Outcome {
    let (spec, workload, intent) = wanted(lab).await?;
    let nobody = lab.name()?;
    let nowhere = lab.network_name()?;
    let start = || NetworkIntent::default().with_network(spec.clone());
    for (what, bad, kind) in [
        (
            "an address outside",
            start().with_attachment(request(&workload, &spec.name, "10.99.0.1")?),
            ErrorKind::InvalidInput,
        ),
        (
            "a workload that is not there",
            start().with_attachment(request(&nobody, &spec.name, "10.231.0.5")?),
            ErrorKind::NotFound,
        ),
        (
            "a network that is not there",
            start().with_attachment(request(&workload, &nowhere, "10.231.0.5")?),
            ErrorKind::NotFound,
        ),
    ] {
        expect_error(lab.networking()?.plan(bad).await, kind, what)?;
    }
    let (other, _) = lab.running().await?;
    let clash = intent.with_attachment(request(&other, &spec.name, "10.231.0.10")?);
    let planned = lab.networking()?.plan(clash).await;
    ensure!(planned.is_err(), "an address used twice was planned: {planned:?}");
    ensure!(!exists(lab, &spec.name).await?, "a plan with a mistake made the network");
    Ok(())
}

async fn a_failed_step_rolls_all_back(lab: &Lab) -> Outcome {
    let (spec, workload, intent) = wanted(lab).await?;
    apply(lab, intent).await?;
    let before = attachments_of(lab, &workload).await?;
    let new = lab.network_spec(Some(102), &["10.232.0.0/24"])?;
    let (other, _) = lab.running().await?;
    let detach = NetworkStep::Detach(before[0].clone());
    let create = NetworkStep::CreateNetwork(new.clone());
    let attach = NetworkStep::Attach(request(&other, &new.name, "10.232.0.5")?);
    // The last step can't be done: its address is taken by the step before.
    let clash = NetworkStep::Attach(request(&workload, &new.name, "10.232.0.5")?);
    let applied = lab.networking()?.apply(NetworkPlan::new(vec![detach, create, attach, clash])).await;
    ensure!(applied.is_err(), "a plan whose last step can't be done was applied: {applied:?}");
    ensure!(!exists(lab, &new.name).await?, "the network of the failed plan is there");
    ensure_eq!(attachments_of(lab, &other).await?, [], "what the failed plan attached");
    ensure_eq!(attachments_of(lab, &workload).await?, before, "what the failed plan detached");
    verified(lab, &spec.name).await?;
    // What is as before can be built on.
    lab.networking()?.create(new.clone()).await?;
    verified(lab, &new.name).await
}

async fn an_empty_plan_is_applied(lab: &Lab) -> Outcome {
    let plan = lab.networking()?.plan(NetworkIntent::default()).await?;
    ensure!(plan.is_empty(), "an empty intent needs: {plan}");
    ensure_eq!(plan.to_string(), "nothing to do", "the printed plan");
    let applied = lab.networking()?.apply(plan).await?;
    ensure_eq!((applied.steps, applied.attachments.len()), (0, 0), "what was done");
    Ok(())
}
