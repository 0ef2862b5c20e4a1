//! The command line as completions and the manual tell of it.

use clap::Command;

use crate::cli::foreign::ForeignArgs;

/// The command without hidden subcommands, and without flags of other routers.
pub(crate) fn shown(command: &Command) -> Command {
    let own = command.get_arguments().filter(|flag| !ForeignArgs::is_one(flag)).cloned();
    let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    // clap takes names that live as long as the program; this is made once in it.
    let name: &'static str = Box::leak(command.get_name().to_owned().into_boxed_str());
    let shown =
        Command::new(name).version(env!("CARGO_PKG_VERSION")).args(own).subcommands(visible.map(shown));
    let shown =
        if command.get_subcommands().next().is_some() { shown } else { shown.disable_version_flag(true) };
    match (command.get_about(), command.get_long_about()) {
        (Some(about), Some(long)) => shown.about(about.clone()).long_about(long.clone()),
        (Some(about), None) => shown.about(about.clone()),
        (None, _) => shown,
    }
}
