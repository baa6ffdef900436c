//! `pod rm`

use crate::args::Rm;
use crate::context::Context;
use crate::exit::Exit;
use crate::targets::{choose, each};
use pod::{RemoveRequest, Result};

pub(super) async fn run(context: &Context, args: Rm) -> Result<Exit> {
    let targets = choose(context, &args.chosen).await?;
    let force = args.force;
    each(context, targets, args.jobs, |t| async move {
        t.backend.remove(RemoveRequest::new(t.name).with_force(force)).await
    })
    .await
}
