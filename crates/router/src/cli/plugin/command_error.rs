//! How a command ends.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use http::StatusCode;
use sgl_api::{Problem, problem_code};
use sgl_fleet::FleetStateError;
use sgl_oci::RegistryError;
use sglang_router_rs::types::{printable, printable_lines};

/// What is missing if the exit code is 4.
const NOT_FOUND: [&str; 3] =
    [problem_code::PLUGIN_NOT_FOUND, problem_code::WORKER_NOT_FOUND, problem_code::POLICY_NOT_FOUND];

/// A key of the settings and the flag that sets it.
pub(crate) type KeyOfFlag = (&'static str, &'static str);

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The flags do not fit together, or a file that they name cannot be read.
    #[error("{0}")]
    Usage(String),
    /// The router cannot be reached.
    #[error("the router at {url} cannot be reached: {reason}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// Something else answers there, such as the router's listener for clients.
    #[error(
        "{url} is not the operators' listener of a router (default port 29001); --admin-url says where that is"
    )]
    Elsewhere {
        /// Where it should be.
        url: String,
    },
    /// The router refused.
    #[error("{} ({}){}", printable_lines(&.0.detail), printable(&.0.code), advice(.0))]
    Refused(Box<Problem>),
    /// The router refused settings, each fault of which it named.
    #[error("{}", faults_of(problem, flags))]
    RefusedSettings {
        /// What it said.
        problem: Box<Problem>,
        /// The flags that set keys of the settings.
        flags: &'static [KeyOfFlag],
    },
    /// The router's answer makes no sense.
    #[error("the router's answer cannot be understood: {}", printable(.0))]
    Answer(String),
    /// A rollout that was watched has ended the other way.
    #[error("{0}")]
    RolledBack(String),
    /// What was waited for did not happen in time.
    #[error("{0}")]
    Waited(String),
    /// A module is not signed as it must be, or cannot be signed.
    #[error("{file}: {reason}")]
    Unsigned {
        /// The module.
        file: String,
        /// Why.
        reason: String,
    },
    /// A module that no router would load, and that is not published therefore.
    #[error("{file}: not published, since a router would refuse it: {}", printable(reason))]
    Unpublishable {
        /// The module.
        file: String,
        /// Why.
        reason: String,
    },
    /// A module that cannot be loaded to be tried.
    #[error("{file}: {}", printable(reason))]
    Untried {
        /// The module.
        file: String,
        /// Why.
        reason: String,
    },
    /// A plugin failed at requests that it was to decide; how was printed.
    #[error("the plugin failed at {failed} of {asked} requests")]
    Undecided {
        /// At how many.
        failed: usize,
        /// Of so many.
        asked: usize,
    },
    /// Cases that a plugin did not pass; what was wrong was printed.
    #[error("{failed} of {ran} cases failed")]
    FailedCases {
        /// How many.
        failed: usize,
        /// Of so many that ran.
        ran: usize,
    },
    /// A registry, or a module there.
    #[error("{} ({})", printable(&.0.to_string()), .0.code())]
    Registry(#[from] RegistryError),
    /// A router would refuse some of the modules that were checked; what is wrong was printed.
    #[error("a router would refuse {faulty} of {checked} modules")]
    Faulty {
        /// How many it would refuse.
        faulty: usize,
        /// How many were checked.
        checked: usize,
    },
    /// A fleet, or what it has in NATS.
    #[error("{}", printable(&.0.to_string()))]
    Fleet(#[from] FleetStateError),
    /// A fleet has no such plugin.
    #[error("{0}; `sgl-router fleet status` lists those that it has")]
    NotInFleet(String),
    /// Policies decide too differently; how was printed.
    #[error("{0}")]
    Disagrees(String),
    /// A router of this configuration would not start; why was printed.
    #[error("it would not start: {0} to mend, see above")]
    WouldNotStart(usize),
    /// A part of what was asked for was refused; what was printed.
    #[error("{0} refused, see above; what was before goes on")]
    PartlyRefused(usize),
    /// The router runs, and serves nobody; what it says of itself was printed.
    #[error("{0}")]
    NotServing(String),
    /// Nobody reads the output any more, or the terminal is gone.
    #[error("the output cannot be written")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// A refusal of a load whose settings these flags set.
    pub(crate) fn refused_load(problem: Problem, flags: &'static [KeyOfFlag]) -> Self {
        let problem = Box::new(problem);
        if problem.faults.is_empty() {
            Self::Refused(problem)
        } else {
            Self::RefusedSettings { problem, flags }
        }
    }

    /// What the router said, if it refused, or what is wrong with a registry.
    pub(crate) fn problem(&self) -> Option<Problem> {
        match self {
            Self::Refused(problem) | Self::RefusedSettings { problem, .. } => Some((**problem).clone()),
            Self::Registry(error) => {
                Some(Problem::coded(StatusCode::BAD_GATEWAY, error.code(), error.to_string()))
            }
            Self::Fleet(error) => {
                Some(Problem::coded(StatusCode::CONFLICT, fleet_code(error), error.to_string()))
            }
            Self::NotInFleet(text) => {
                Some(Problem::coded(StatusCode::NOT_FOUND, problem_code::PLUGIN_NOT_FOUND, text.clone()))
            }
            _ => None,
        }
    }

    /// The exit code: 1 failed, 2 wrong usage, 3 not reached, 4 no such plugin, worker or policy.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Registry(RegistryError::Reference(_)) => ExitCode::from(2),
            Self::Registry(error) if error.is_passing() => ExitCode::from(3),
            Self::Unreachable { .. } => ExitCode::from(3),
            Self::Fleet(
                FleetStateError::Name { .. } | FleetStateError::Address { .. } | FleetStateError::File { .. },
            ) => ExitCode::from(2),
            Self::Fleet(error) if error.is_passing() => ExitCode::from(3),
            Self::NotInFleet(_) => ExitCode::from(4),
            // Files, records and paths may be missing too, and are none of these.
            Self::Refused(problem) | Self::RefusedSettings { problem, .. }
                if NOT_FOUND.contains(&problem.code.as_str()) =>
            {
                ExitCode::from(4)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

/// What scripts tell errors of a fleet by.
fn fleet_code(error: &FleetStateError) -> &'static str {
    if error.is_passing() {
        "fleet_unreachable"
    } else if error.is_refusal() {
        "fleet_refused"
    } else {
        "fleet_unusable"
    }
}

/// The flags that do what a problem asks for in words of HTTP.
fn advice(problem: &Problem) -> &'static str {
    match problem.code.as_str() {
        problem_code::UNAUTHORIZED => {
            "; commands take the token from --admin-token-file FILE or the variable SGL_ROUTER_ADMIN_TOKEN"
        }
        problem_code::IN_USE => "; to force it: rm --force",
        problem_code::LAST_WORKER => ": drain --force",
        _ => "",
    }
}

/// The faults as `serve` prints those of its configuration.
fn faults_of(problem: &Problem, flags: &[KeyOfFlag]) -> String {
    let count = problem.faults.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("the settings have {count} fault{plural} ({})", printable(&problem.code));
    for fault in &problem.faults {
        let key = printable(&fault.key);
        let bare = fault.key.split('[').next().unwrap_or_default();
        let flag = flags.iter().find(|(key, _)| *key == bare);
        let flag = flag.map(|(_, flag)| format!(" ({flag})")).unwrap_or_default();
        let (found, allowed) = (printable(&fault.found), printable(&fault.expected));
        // Writing to a text cannot fail.
        let _ = match allowed.as_str() {
            "" => write!(text, "\n  {key}{flag}: {found}"),
            allowed => write!(text, "\n  {key}{flag}: found {found}; allowed: {allowed}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sgl_api::ProblemFault;

    fn refused(status: StatusCode, code: &str) -> CommandError {
        CommandError::Refused(Box::new(Problem::coded(status, code, "no")))
    }

    #[test]
    fn only_a_plugin_that_is_not_there_has_the_code_of_one() {
        let code = |code| format!("{:?}", refused(StatusCode::NOT_FOUND, code).exit_code());
        assert_eq!(code(problem_code::WORKER_NOT_FOUND), format!("{:?}", ExitCode::from(4)));
        assert_eq!(code(problem_code::PLUGIN_NOT_FOUND), format!("{:?}", ExitCode::from(4)));
        for other in ["not_found", "file_not_found", "record_not_found", "nothing_recorded"] {
            assert_eq!(code(other), format!("{:?}", ExitCode::FAILURE), "{other}");
        }
    }

    #[test]
    fn refusals_name_the_flags_that_help() {
        let unauthorized = refused(StatusCode::UNAUTHORIZED, problem_code::UNAUTHORIZED).to_string();
        assert!(unauthorized.contains("--admin-token-file"), "{unauthorized}");
        assert!(unauthorized.contains("SGL_ROUTER_ADMIN_TOKEN"), "{unauthorized}");
        let in_use = refused(StatusCode::CONFLICT, problem_code::IN_USE).to_string();
        assert!(in_use.contains("rm --force"), "{in_use}");
    }

    #[test]
    fn each_fault_is_a_line_with_the_flag_that_set_its_key() {
        let fault = |key: &str, found: &str, expected: &str| ProblemFault {
            key: key.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        };
        let faults = vec![fault("allowed_syscalls[0]", "\"x\"", "a function"), fault("name", "odd", "")];
        let problem =
            Problem { faults, ..Problem::coded(StatusCode::UNPROCESSABLE_ENTITY, "config_faults", "prose") };
        let error = CommandError::refused_load(problem, &[("allowed_syscalls", "--allow-syscall")]);
        assert_eq!(
            error.to_string(),
            "the settings have 2 faults (config_faults)\n  \
             allowed_syscalls[0] (--allow-syscall): found \"x\"; allowed: a function\n  name: odd"
        );
    }
}
