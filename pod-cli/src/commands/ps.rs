//! `pod ps`

use crate::args::Ps;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{WorkloadList, WorkloadView};
use crate::targets::filter;
use pod::{Capabilities, Result};

pub(super) async fn run(context: &Context, args: Ps) -> Result<Exit> {
    let backend = context.reach_for(&context.default_backend()?, Capabilities::none()).await?;
    let mut wanted = filter(&args.label).with_running(!args.all);
    if let Some(topology) = args.topology {
        wanted = wanted.with_topology(topology);
    }
    let list = backend.list(wanted).await?;
    let uri = &backend.info().uri;
    context.print(&WorkloadList(list.iter().map(|w| WorkloadView::new(uri, w)).collect()))?;
    Ok(Exit::OK)
}
