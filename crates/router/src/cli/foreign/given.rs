//! The flags of other routers that a command line has.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::cli::foreign::flag::{FlagFate, FlagValues, ForeignFlag};
use crate::cli::foreign::list::all;

/// What the ids of their arguments begin with, so that they are told from this router's own.
const ID_PREFIX: &str = "foreign:";

/// The flags of other routers that were given, which are none of this router's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignArgs {
    given: Vec<(&'static ForeignFlag, Vec<String>)>,
}

impl ForeignArgs {
    /// True for the argument of such a flag: help, completions and the manual are silent of it.
    pub fn is_one(argument: &Arg) -> bool {
        argument.get_id().as_str().starts_with(ID_PREFIX)
    }

    /// Those that were given, with their values, in the order of the list.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static ForeignFlag, &[String])> {
        self.given.iter().map(|(flag, values)| (*flag, values.as_slice()))
    }

    /// True if it was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(flag, _)| flag.name == name)
    }

    /// The last value of a flag, if it was given.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let (_, values) = self.given.iter().find(|(flag, _)| flag.name == name)?;
        values.last().map(String::as_str)
    }
}

/// Those that parsing itself has to know; the others are arguments of this router.
fn foreign_flags() -> impl Iterator<Item = &'static ForeignFlag> {
    all().filter(|flag| matches!(flag.fate, FlagFate::Means | FlagFate::Ignored | FlagFate::Refused))
}

fn id(flag: &ForeignFlag) -> String {
    format!("{ID_PREFIX}{}", flag.name)
}

fn argument(flag: &'static ForeignFlag) -> Arg {
    // clap takes names that live as long as the program; each is made once in it.
    let id: &'static str = Box::leak(id(flag).into_boxed_str());
    let argument = Arg::new(id).long(flag.name).hide(true);
    match flag.values {
        FlagValues::Nothing => argument.action(ArgAction::SetTrue),
        FlagValues::One => argument.num_args(1).action(ArgAction::Append).allow_negative_numbers(true),
        FlagValues::Many => argument.num_args(0..).action(ArgAction::Append).allow_negative_numbers(true),
    }
}

impl Args for ForeignArgs {
    fn augment_args(mut command: Command) -> Command {
        for flag in all() {
            if let FlagFate::Alias(target) = flag.fate {
                let id = target.replace('-', "_");
                command = command.mut_arg(id, |argument| argument.alias(flag.name));
            }
        }
        // Where the router has such a flag by now, that one counts; a test finds the entry of the list.
        let own: Vec<String> =
            command.get_arguments().filter_map(|own| own.get_long()).map(str::to_owned).collect();
        let foreign = foreign_flags().filter(|flag| !own.iter().any(|own| own == flag.name));
        command.args(foreign.map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ForeignArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for flag in foreign_flags() {
            let id = id(flag);
            let values = match flag.values {
                FlagValues::Nothing => match matches.try_get_one::<bool>(&id) {
                    Ok(Some(true)) => Vec::new(),
                    _ => continue,
                },
                FlagValues::One | FlagValues::Many => match matches.try_get_many::<String>(&id) {
                    Ok(Some(values)) => values.cloned().collect(),
                    // Given without a value.
                    Ok(None) if is_there(matches, &id) => Vec::new(),
                    _ => continue,
                },
            };
            given.push((flag, values));
        }
        Ok(Self { given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// True if the argument is known and was given.
fn is_there(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).unwrap_or(false) && matches.value_source(id).is_some()
}
