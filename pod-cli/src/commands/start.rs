//! `pod start`

use crate::args::Start;
use crate::context::Context;
use crate::exit::Exit;
use crate::targets::{choose, each};
use pod::{Result, StartRequest};

pub(super) async fn run(context: &Context, args: Start) -> Result<Exit> {
    let targets = choose(context, &args.chosen).await?;
    each(context, targets, args.jobs, |t| async move { t.backend.start(StartRequest::new(t.name)).await }).await
}
