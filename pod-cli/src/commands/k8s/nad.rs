//! `pod k8s nad`

use super::{At, files, whole};
use crate::args::{
    Nad, NadApply, NadCheck, NadCommand, NadCreate, NadDiff, NadGet, NadKind, NadMode, NadRm, NadVerify,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{
    CheckedList, CheckedView, DefinitionList, DifferenceList, FixedList, ManifestsView, NadVerifiedView, OutcomeList,
};
use pod::k8s::nad::{
    Definition, Definitions, Fixed, IpvlanMode, Kind, MacvlanMode, NetworkAttachmentDefinition, check, fix,
};
use pod::{Error, ErrorKind, IfName, Result};

pub(super) async fn run(at: &At<'_>, args: Nad) -> Result<Exit> {
    match args.command {
        NadCommand::Ls(_) => {
            at.context.print(&DefinitionList(at.reach().await?.definitions().list().await?))?;
            Ok(Exit::OK)
        }
        NadCommand::Get(args) => get(at, args).await,
        NadCommand::Check(args) => check_files(at.context, &args),
        NadCommand::Create(args) => create(at, args).await,
        NadCommand::Apply(args) => apply(at, args).await,
        NadCommand::Diff(args) => diff(at, args).await,
        NadCommand::Rm(args) => remove(at, args).await,
        NadCommand::Verify(args) => verify(at, args).await,
    }
}

async fn get(at: &At<'_>, args: NadGet) -> Result<Exit> {
    let all = at.reach().await?.definitions();
    let mut found = Vec::new();
    for name in &args.names {
        found.push(all.get(name).await?);
    }
    at.context.print(&ManifestsView::new(found)?)?;
    Ok(Exit::OK)
}

fn check_files(context: &Context, args: &NadCheck) -> Result<Exit> {
    let all = files::read(context, &args.files)?;
    if args.fix {
        let fixed = all.iter().map(|d| fixed(context, d)).collect::<Result<Vec<_>>>()?;
        let whole = fixed.iter().all(|f| f.left.is_empty());
        context.print(&FixedList::new(fixed)?)?;
        return Ok(Exit::yes_or_no(whole));
    }
    let checked: Vec<_> = all.iter().map(|d| CheckedView::new(d.name(), check(&d.spec.config))).collect();
    let good = checked.iter().all(|c| c.ok);
    context.print(&CheckedList(checked))?;
    Ok(Exit::yes_or_no(good))
}

/// The definition that does what was meant; what was changed is told.
fn fixed(context: &Context, definition: &NetworkAttachmentDefinition) -> Result<Fixed> {
    let fixed = fix(definition)?;
    let name = definition.name();
    for change in &fixed.changes {
        context.say(&format!("{name}: {change}"));
    }
    if !fixed.dns.is_empty() {
        let servers: Vec<_> = fixed.dns.iter().map(ToString::to_string).collect();
        context.say(&format!("{name}: for the pods' `dnsConfig`: nameservers {}", servers.join(", ")));
    }
    for fault in &fixed.left {
        context.say(&format!("{name}: left for you: {fault}"));
    }
    Ok(fixed)
}

/// The plugin and its parts, from flags that go together.
fn kind(args: &NadCreate) -> Result<Kind> {
    let missing = |flag: &str| {
        Error::invalid(format!("the kind {:?} needs {flag}", args.kind).to_lowercase())
            .with_hint("`pod k8s nad create -h` has examples")
    };
    let surplus = |flag: &str| Error::invalid(format!("the kind {:?} has no use for {flag}", args.kind).to_lowercase());
    let parent = || -> Result<Option<IfName>> { Ok(args.master.clone()) };
    let of_kind = |flag: &str, given: bool, kinds: &[NadKind]| {
        if given && !kinds.contains(&args.kind) { Err(surplus(flag)) } else { Ok(()) }
    };
    of_kind("--master", args.master.is_some(), &[NadKind::Macvlan, NadKind::Ipvlan, NadKind::Vlan])?;
    of_kind("--bridge", args.bridge.is_some(), &[NadKind::Bridge])?;
    of_kind("--resource", args.resource.is_some(), &[NadKind::Sriov])?;
    of_kind("--mode", args.mode.is_some(), &[NadKind::Macvlan, NadKind::Ipvlan])?;
    Ok(match args.kind {
        NadKind::Macvlan => {
            let mode = match args.mode {
                None | Some(NadMode::Bridge) => MacvlanMode::Bridge,
                Some(NadMode::Private) => MacvlanMode::Private,
                Some(NadMode::Vepa) => MacvlanMode::Vepa,
                Some(NadMode::Passthru) => MacvlanMode::Passthru,
                Some(_) => return Err(surplus("that mode")),
            };
            Kind::Macvlan { master: parent()?, vlan: args.vlan, mode }
        }
        NadKind::Ipvlan => {
            let mode = match args.mode {
                None | Some(NadMode::L2) => IpvlanMode::L2,
                Some(NadMode::L3) => IpvlanMode::L3,
                Some(NadMode::L3s) => IpvlanMode::L3s,
                Some(_) => return Err(surplus("that mode")),
            };
            Kind::Ipvlan { master: parent()?, vlan: args.vlan, mode }
        }
        NadKind::Vlan => Kind::Vlan {
            master: args.master.clone().ok_or_else(|| missing("--master"))?,
            id: args.vlan.ok_or_else(|| missing("--vlan"))?,
        },
        NadKind::Bridge => {
            Kind::Bridge { bridge: args.bridge.clone().ok_or_else(|| missing("--bridge"))?, vlan: args.vlan }
        }
        NadKind::Sriov => {
            Kind::Sriov { resource: args.resource.clone().ok_or_else(|| missing("--resource"))?, vlan: args.vlan }
        }
    })
}

async fn create(at: &At<'_>, args: NadCreate) -> Result<Exit> {
    let mut definition = Definition::new(args.name.clone(), kind(&args)?);
    definition.allocator = match args.gateway {
        Some(gateway) => args.addresses.with_gateway(gateway)?,
        None => args.addresses.0,
    };
    definition.routes = args.route;
    definition.mtu = args.mtu;
    let object = definition.object()?;
    if args.dry_run {
        at.context.print(&ManifestsView::new(vec![object])?)?;
        return Ok(Exit::OK);
    }
    let all = at.reach().await?.definitions();
    match all.get(&args.name).await {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
        // One that is the same is made already; another is not overwritten by a command that makes.
        Ok(_) if !all.compare(&object).await?.is_empty() => {
            return Err(Error::new(ErrorKind::AlreadyExists, "there is another definition of that name")
                .with_context("definition", &args.name)
                .with_hint("`--dry-run` prints this one, `pod k8s nad diff` compares, `apply` replaces"));
        }
        Ok(_) => {}
    }
    let mut outcomes = OutcomeList::default();
    outcomes.add(&args.name, &all.apply(&object).await?);
    at.context.print(&outcomes)?;
    Ok(Exit::OK)
}

/// Refuses a definition of another namespace than the one that is worked in.
fn is_here(object: &NetworkAttachmentDefinition, here: &str) -> Result<()> {
    match object.metadata.namespace.as_deref().filter(|n| *n != here) {
        None => Ok(()),
        Some(other) => Err(Error::invalid("the definition is of another namespace")
            .with_context("definition", object.name())
            .with_context("namespace", other)
            .with_hint(format!("work there: -n {other}"))),
    }
}

async fn apply(at: &At<'_>, args: NadApply) -> Result<Exit> {
    let mut wanted = files::read(at.context, &args.files)?;
    if args.fix {
        for definition in &mut wanted {
            *definition = fixed(at.context, definition)?.definition;
        }
    }
    let backend = at.reach().await?;
    let all = backend.definitions();
    let (mut outcomes, mut exit) = (OutcomeList::default(), Exit::OK);
    for definition in &wanted {
        let done = async {
            is_here(definition, backend.namespace())?;
            if args.dry_run {
                all.try_apply(definition).await?;
                return Ok(None);
            }
            all.apply(definition).await.map(Some)
        };
        match done.await {
            Ok(Some(outcome)) => outcomes.add(definition.name(), &outcome),
            Ok(None) => outcomes.add(definition.name(), &"would_be_taken"),
            Err(e) => exit = exit.max(at.context.report(&with_fix(e, args.fix))),
        }
    }
    at.context.print(&outcomes)?;
    Ok(exit)
}

/// Says which flag of this very command helps.
fn with_fix(error: Error, fixed: bool) -> Error {
    let faulty = error.context().iter().any(|(key, _)| *key == "fault");
    match faulty {
        true if fixed => error.with_hint("what is left is for you to decide: see above"),
        true => error.with_hint("`--fix` applies one that does what is meant, `pod k8s nad check --fix` prints it"),
        false => error,
    }
}

async fn diff(at: &At<'_>, args: NadDiff) -> Result<Exit> {
    let wanted = files::read(at.context, &args.files)?;
    let backend = at.reach().await?;
    let mut list = DifferenceList::default();
    for definition in &wanted {
        is_here(definition, backend.namespace())?;
        list.add(definition.name(), differences(&backend.definitions(), definition).await?);
    }
    let same = list.0.is_empty();
    if same {
        at.context.say("nothing differs");
    }
    at.context.print(&list)?;
    Ok(Exit::yes_or_no(same))
}

/// What differs; `None` when there is no such definition.
async fn differences(
    all: &Definitions,
    wanted: &NetworkAttachmentDefinition,
) -> Result<Option<Vec<pod::k8s::nad::Difference>>> {
    match all.compare(wanted).await {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

async fn remove(at: &At<'_>, args: NadRm) -> Result<Exit> {
    let all = at.reach().await?.definitions();
    let (mut outcomes, mut exit) = (OutcomeList::default(), Exit::OK);
    for name in &args.names {
        match all.delete(name, args.force).await {
            Ok(outcome) => outcomes.add(name, &outcome),
            Err(e) => exit = exit.max(at.context.report(&e)),
        }
    }
    at.context.print(&outcomes)?;
    Ok(exit)
}

async fn verify(at: &At<'_>, args: NadVerify) -> Result<Exit> {
    let backend = at.reach().await?;
    let definitions = backend.definitions();
    let work = definitions.verify(&backend, &args.name, args.image);
    let seen = match whole(at.context, work).await? {
        Ok(seen) => seen,
        Err(exit) => return Ok(exit),
    };
    for left in &seen.left_behind {
        at.context.say(&format!("left behind: {left}"));
    }
    let ok = seen.ok();
    at.context.print(&NadVerifiedView::from(seen))?;
    Ok(Exit::yes_or_no(ok))
}
