//! `pod os`

use crate::args::{Os as OsArgs, OsCommand, OsKill, OsMkdir, OsOf, OsPath, OsRm, OsWrite};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Described, Listed, OutcomeList, write_bytes};
use crate::stdio::stdin_reader;
use pod::os::{Os, READ_LIMIT};
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

async fn all_of_stdin() -> Result<Vec<u8>> {
    let mut content = Vec::new();
    stdin_reader().take(READ_LIMIT as u64 + 1).read_to_end(&mut content).await.doing(|| "read stdin")?;
    if content.len() > READ_LIMIT {
        return Err(Error::new(ErrorKind::Exhausted, format!("stdin holds more than {READ_LIMIT} bytes"))
            .with_hint("`pod cp` copies files of any size"));
    }
    Ok(content)
}
