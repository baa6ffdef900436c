//! `pod stop`

use crate::args::Stop;
use crate::context::Context;
use crate::exit::Exit;
use crate::targets::{choose, each};
use pod::{Result, StopRequest};

pub(super) async fn run(context: &Context, args: Stop) -> Result<Exit> {
    let targets = choose(context, &args.chosen).await?;
    let (signal, grace) = (args.signal, args.grace);
    each(context, targets, args.jobs, |t| async move {
        t.backend.stop(StopRequest::new(t.name).with_signal(signal).with_grace(grace)).await
    })
    .await
}
