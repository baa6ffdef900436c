//! `pod inspect`

use crate::args::Inspect;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{InspectList, InspectView};
use pod::Result;

pub(super) async fn run(context: &Context, args: Inspect) -> Result<Exit> {
    let (mut found, mut exit) = (Vec::new(), Exit::OK);
    for text in &args.workloads {
        let target = context.target(text).await?;
        match target.backend.inspect(&target.name).await {
            Ok(workload) => found.push(InspectView::new(&target.backend.info().uri, &workload)),
            Err(e) => exit = exit.max(context.report(&target.explain(e).await)),
        }
    }
    context.print(&InspectList(found))?;
    Ok(exit)
}
