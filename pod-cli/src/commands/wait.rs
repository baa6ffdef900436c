//! `pod wait`

use crate::args::Wait;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{WaitList, WaitView};
use crate::targets::choose;
use futures_util::future::join_all;
use pod::{BackendExt, Error, ErrorKind, Result};

pub(super) async fn run(context: &Context, args: Wait) -> Result<Exit> {
    let targets = choose(context, &args.chosen).await?;
    let all = join_all(targets.iter().map(|t| async move { (t, t.backend.wait_exit(&t.name).await) }));
    let ended = match args.timeout {
        None => all.await,
        Some(limit) => tokio::time::timeout(limit, all).await.map_err(|_| {
            Error::new(ErrorKind::Timeout, format!("not all ended within {limit:?}")).with_operation("wait")
        })?,
    };
    let (mut list, mut exit) = (Vec::new(), Exit::OK);
    for (target, result) in ended {
        match result {
            Ok(status) => {
                list.push(WaitView { name: target.name.to_string(), exit: status.into() });
                exit = exit.max(Exit::of_status(status).unwrap_or_else(|| context.report(&super::exec::lost(target))));
            }
            Err(e) => exit = exit.max(context.report(&target.explain(e).await)),
        }
    }
    context.print(&WaitList(list))?;
    Ok(exit)
}
