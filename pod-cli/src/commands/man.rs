//! `pod man`

use crate::args::{self, Man};
use crate::exit::Exit;
use crate::output::write_bytes;
use pod::{IoResultExt, Result};

pub(super) fn run(args: &Man) -> Result<Exit> {
    let command = args::command();
    match &args.dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).doing(|| "write the manual page")?;
            write_bytes(&page)?;
        }
        Some(dir) => {
            std::fs::create_dir_all(dir).doing(|| format!("make the directory {}", dir.display()))?;
            clap_mangen::generate_to(command, dir).doing(|| format!("write to {}", dir.display()))?;
        }
    }
    Ok(Exit::OK)
}
