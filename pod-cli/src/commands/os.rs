//! `pod os`

use crate::args::{
    Os as OsArgs, OsAdduser, OsCommand, OsDeluser, OsHostname, OsKill, OsMkdir, OsNetwork, OsOf, OsPackages, OsPath,
    OsPower, OsRm, OsService, OsUser, OsWrite, ServiceVerb,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Described, HostName, Listed, OutcomeList, write_bytes};
use crate::stdio::stdin_reader;
use pod::os::{NetworkConfig, NewUser, Os, PackageChange, Password, READ_LIMIT, ServiceAction};
use pod::{Error, ErrorKind, IoResultExt, Result};
use std::sync::Arc;
use tokio::io::AsyncReadExt;

pub(super) async fn run(context: &Context, args: OsArgs) -> Result<Exit> {
    match args.command {
        OsCommand::Info(of) => context.print(&Described(open(context, &of).await?.facts().clone()))?,
        OsCommand::Interfaces(of) => context.print(&Listed(open(context, &of).await?.interfaces().await?))?,
        OsCommand::Routes(of) => context.print(&Listed(open(context, &of).await?.routes().await?))?,
        OsCommand::Processes(of) => context.print(&Listed(open(context, &of).await?.processes().await?))?,
        OsCommand::Kill(OsKill { of, pid, signal }) => {
            open(context, &of).await?.kill(pid, signal).await?;
            done(context, pid, &"signalled")?;
        }
        OsCommand::Packages(of) => context.print(&Listed(open(context, &of).await?.packages().await?))?,
        OsCommand::Install(OsPackages { of, packages }) => {
            let names: Vec<&str> = packages.iter().map(String::as_str).collect();
            changed(context, &open(context, &of).await?.install_packages(&names).await?, "installed")?;
        }
        OsCommand::Uninstall(OsPackages { of, packages }) => {
            let names: Vec<&str> = packages.iter().map(String::as_str).collect();
            changed(context, &open(context, &of).await?.remove_packages(&names).await?, "removed")?;
        }
        OsCommand::Services(of) => context.print(&Listed(open(context, &of).await?.services().await?))?,
        OsCommand::Service(args) => service(context, args).await?,
        OsCommand::Users(of) => context.print(&Listed(open(context, &of).await?.users().await?))?,
        OsCommand::Adduser(args) => add_user(context, args).await?,
        OsCommand::Passwd(OsUser { of, name }) => {
            let password = password().await?;
            open(context, &of).await?.set_password(&name, &password).await?;
            done(context, name, &"set")?;
        }
        OsCommand::Deluser(OsDeluser { user: OsUser { of, name }, home }) => {
            let removed = open(context, &of).await?.delete_user(&name, home).await?;
            done(context, name, &removed)?;
        }
        OsCommand::Hostname(OsHostname { of, name: None }) => {
            let name = open(context, &of).await?.hostname().await?;
            context.print(&Described(HostName { host_name: name }))?;
        }
        OsCommand::Hostname(OsHostname { of, name: Some(name) }) => {
            open(context, &of).await?.set_hostname(&name).await?;
            done(context, name, &"set")?;
        }
        OsCommand::Network(args) => network(context, args).await?,
        OsCommand::RestartNetwork(of) => {
            let service = open(context, &of).await?.restart_network().await?;
            done(context, service, &"restarted")?;
        }
        OsCommand::Reboot(OsPower { of, timeout }) => {
            open(context, &of).await?.reboot(timeout).await?;
            done(context, of.workload, &"rebooted")?;
        }
        OsCommand::Shutdown(OsPower { of, timeout }) => {
            open(context, &of).await?.shutdown(timeout).await?;
            done(context, of.workload, &"shut_down")?;
        }
        OsCommand::Disks(of) => context.print(&Listed(open(context, &of).await?.disks().await?))?,
        OsCommand::Memory(of) => context.print(&Described(open(context, &of).await?.memory().await?))?,
        OsCommand::Cpu(of) => context.print(&Described(open(context, &of).await?.cpu().await?))?,
        OsCommand::Ls(at) => context.print(&Listed(open(context, &at.of).await?.list_dir(path(&at)).await?))?,
        OsCommand::Cat(at) => {
            write_bytes(&open(context, &at.of).await?.read_file(path(&at)).await?)?;
        }
        OsCommand::Write(OsWrite { at, mode }) => {
            let content = all_of_stdin().await?;
            open(context, &at.of).await?.write_file(path(&at), content, mode).await?;
            done(context, at.path.to_string_lossy(), &"written")?;
        }
        OsCommand::Mkdir(OsMkdir { at, parents }) => {
            open(context, &at.of).await?.make_dir(path(&at), parents).await?;
            done(context, at.path.to_string_lossy(), &"made")?;
        }
        OsCommand::Rm(OsRm { at, recursive }) => {
            let removed = open(context, &at.of).await?.remove(path(&at), recursive).await?;
            done(context, at.path.to_string_lossy(), &removed)?;
        }
    }
    Ok(Exit::OK)
}

/// The operating system of a workload.
async fn open(context: &Context, of: &OsOf) -> Result<Os> {
    let target = context.target(&of.workload).await?;
    let os = match target.backend.connect(&target.name).await {
        Ok(connection) => Os::detect_as(Arc::clone(&connection), of.user.clone()).await,
        Err(e) => Err(e),
    };
    match os {
        Ok(os) => Ok(os),
        Err(e) => Err(target.explain(e).await),
    }
}

fn path(at: &OsPath) -> Vec<u8> {
    super::exec::bytes(&at.path)
}

fn done(context: &Context, name: impl ToString, outcome: &impl serde::Serialize) -> Result<()> {
    let mut list = OutcomeList::default();
    list.add(name, outcome);
    context.print(&list)
}

fn changed(context: &Context, change: &PackageChange, word: &str) -> Result<()> {
    let mut list = OutcomeList::default();
    change.changed.iter().for_each(|name| list.add(name, &word));
    change.unchanged.iter().for_each(|name| list.add(name, &"unchanged"));
    context.print(&list)
}

async fn service(context: &Context, args: OsService) -> Result<()> {
    let os = open(context, &args.of).await?;
    let action = match args.action {
        None => return context.print(&Listed(vec![os.service(&args.service).await?])),
        Some(ServiceVerb::Start) => ServiceAction::Start,
        Some(ServiceVerb::Stop) => ServiceAction::Stop,
        Some(ServiceVerb::Restart) => ServiceAction::Restart,
        Some(ServiceVerb::Enable) => ServiceAction::Enable,
        Some(ServiceVerb::Disable) => ServiceAction::Disable,
    };
    let outcome = os.control_service(&args.service, action).await?;
    done(context, args.service, &outcome)
}

async fn add_user(context: &Context, args: OsAdduser) -> Result<()> {
    let mut user = NewUser::new(args.user.name).with_groups(args.groups).with_make_home(args.make_home);
    (user.uid, user.group, user.shell) = (args.uid, args.group, args.shell);
    (user.home, user.comment, user.system) = (args.home, args.comment, args.system);
    if args.password_stdin {
        user.password = Some(password().await?);
    }
    let made = open(context, &args.user.of).await?.create_user(&user).await?;
    context.print(&Listed(vec![made]))
}

async fn network(context: &Context, args: OsNetwork) -> Result<()> {
    let mut config = NetworkConfig::new(args.interface).with_exact(args.exact).with_persist(args.persist);
    if let Some((parent, id)) = args.vlan {
        config = config.with_vlan(parent, id);
    }
    (config.addresses, config.gateways, config.dns) = (args.address, args.gateway, args.dns);
    (config.search, config.mtu) = (args.search, args.mtu);
    let report = open(context, &args.of).await?.configure_network(&config).await?;
    context.print(&Listed(vec![report.interface]))
}

/// The first line of stdin.
async fn password() -> Result<Password> {
    let content = all_of_stdin().await?;
    let line = content.split(|b| *b == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(line).map_err(|e| Error::invalid("the password is no UTF-8").with_source(e))?;
    Password::new(text)
}

async fn all_of_stdin() -> Result<Vec<u8>> {
    let mut content = Vec::new();
    stdin_reader().take(READ_LIMIT as u64 + 1).read_to_end(&mut content).await.doing(|| "read stdin")?;
    if content.len() > READ_LIMIT {
        return Err(Error::new(ErrorKind::Exhausted, format!("stdin holds more than {READ_LIMIT} bytes"))
            .with_hint("`pod cp` copies files of any size"));
    }
    Ok(content)
}
