//! Runs all commands; those that are one request are here.

use http::Method;

use crate::cli::plugin::args::{ListArgs, PluginArgs, PluginCommand};
use crate::cli::plugin::client::{AdminClient, Call, encoded};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
#[cfg(feature = "tools")]
use crate::cli::plugin::replay;
use crate::cli::plugin::{
    check, decide_once, embedded, explain, manifest, publish, pull, push, queue, show, signing, testing,
    verify, watch,
};
use sgl_api::{PluginList, PluginView};
use sglang_router_rs::config::FailurePolicy;
use sglang_router_rs::policies::{Happened, PluginDetail};
use sglang_router_rs::types::printable;

/// Runs one command on a runtime of its own. With `--json` a refusal goes to standard output too. Must
/// not be called inside another runtime.
///
/// # Errors
///
/// [`CommandError`], which has an exit code.
pub fn run(args: &PluginArgs) -> Result<(), CommandError> {
    let done = done(args);
    if let (true, Some(problem)) = (args.json, done.as_ref().err().and_then(CommandError::problem)) {
        print(&problem, true, |_| String::new())?;
    }
    done
}

fn done(args: &PluginArgs) -> Result<(), CommandError> {
    #[cfg(feature = "tools")]
    if let PluginCommand::Replay(replay) = &args.command {
        // It has a runtime of its own.
        return replay::replay_records(replay, &args.admin.ca_cert_paths, args.json);
    }
    // These have runtimes of their own, too.
    match &args.command {
        PluginCommand::Check(files) => return check::check(files, &args.admin.ca_cert_paths, args.json),
        PluginCommand::Run(run) => {
            return decide_once::decide_once(run, &args.admin.ca_cert_paths, args.json);
        }
        PluginCommand::Test(test) => {
            return testing::testing(test, &args.admin.ca_cert_paths, args.json);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command(args))
}

async fn command(args: &PluginArgs) -> Result<(), CommandError> {
    let authorities = &args.admin.ca_cert_paths;
    match &args.command {
        PluginCommand::List(ListArgs { embedded: true }) => return embedded::list(args.json),
        PluginCommand::Keygen(keygen) => return signing::keygen(keygen, args.json),
        PluginCommand::Sign(sign) => return signing::sign(sign, args.json),
        PluginCommand::Verify(verify) => return verify::verify(verify, authorities, args.json).await,
        PluginCommand::Manifest(manifest) => return manifest::manifest(manifest, args.json),
        PluginCommand::Publish(publish) => return publish::publish(publish, authorities, args.json).await,
        PluginCommand::Pull(pull) => return pull::pull(pull, authorities, args.json).await,
        _ => {}
    }
    let client = AdminClient::new(&args.admin)?.for_this_router_alone(args.local);
    let of = |name: &str| format!("/v1/plugins/{}", encoded(name));
    match &args.command {
        PluginCommand::List(_) => {
            let list: PluginList = client.json(Call::new(Method::GET, "/v1/plugins")).await?;
            print(&list, args.json, |list| show::list(&list.plugins))
        }
        PluginCommand::Show(plugin) => {
            let view: PluginView = client.json(Call::new(Method::GET, of(&plugin.name))).await?;
            print(&view, args.json, show::detail)
        }
        PluginCommand::Push(push) => push::push(&client, push, args.json).await,
        PluginCommand::Rollback(plugin) => change(&client, args, &plugin.name, "rollback").await,
        PluginCommand::Promote(plugin) => change(&client, args, &plugin.name, "promote").await,
        PluginCommand::Pause(plugin) => change(&client, args, &plugin.name, "pause").await,
        PluginCommand::Resume(plugin) => change(&client, args, &plugin.name, "resume").await,
        PluginCommand::Rm { name, force } => {
            let query = if *force { "?force=true" } else { "" };
            client.send(Call::new(Method::DELETE, of(name) + query)).await?;
            let done = serde_json::json!({"name": name, "unloaded": true});
            print(&done, args.json, |_| format!("{}: unloaded\n", printable(name)))
        }
        PluginCommand::Explain(explain) => explain::run(&client, explain, args.json).await,
        PluginCommand::Queue(list) => queue::run(&client, list, args.json).await,
        // Done above: no router is asked.
        PluginCommand::Keygen(_)
        | PluginCommand::Sign(_)
        | PluginCommand::Verify(_)
        | PluginCommand::Check(_)
        | PluginCommand::Run(_)
        | PluginCommand::Test(_)
        | PluginCommand::Publish(_)
        | PluginCommand::Manifest(_)
        | PluginCommand::Pull(_) => Ok(()),
        #[cfg(feature = "tools")]
        PluginCommand::Replay(_) => Ok(()),
        PluginCommand::Watch(watch) => watch::watch(&client, watch, args.json).await,
    }
}

/// A change by one POST; prints the plugin as it is afterwards.
async fn change(client: &AdminClient, args: &PluginArgs, name: &str, what: &str) -> Result<(), CommandError> {
    let path = format!("/v1/plugins/{}/{what}", encoded(name));
    let view: PluginView = client.json(Call::new(Method::POST, path)).await?;
    let event = |view: &PluginView| {
        let plugin = &view.detail;
        let name = printable(&plugin.name);
        match plugin.last_event.as_ref().map(|event| &event.what) {
            Some(Happened::Paused) => format!("{name}: {}\n", paused(plugin)),
            Some(Happened::Resumed) => format!("{name}: serving again\n"),
            Some(event) => format!("{name}: {}; {}\n", plugin.state, printable(&event.to_string())),
            None => format!("{name}: {}; {what}\n", plugin.state),
        }
    };
    print(&view, args.json, event)
}

fn paused(plugin: &PluginDetail) -> String {
    let decides = match plugin.options.on_failure {
        FailurePolicy::Fallback => format!("the fallback policy ({}) decides", plugin.options.fallback),
        FailurePolicy::Reject => "requests that it would place are rejected".to_owned(),
    };
    format!("paused by the operator; {}", printable(&decides))
}
