//! Runs the commands.

use serde_json::json;

use crate::cli::fleet::args::{AdoptArgs, FleetArgs, FleetChangeArgs, FleetCommand};
use crate::cli::fleet::{push, status};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::output::print;
use crate::fleet::fleet_view;
use sgl_api::FleetPluginView;
use sgl_fleet::connection::{ConnectionSettings, FleetConnection};
use sgl_fleet::desired_plugin::DesiredPlugin;
use sgl_fleet::desired_set::{DesiredSet, Epoch, RevisedPlugin};
use sgl_fleet::fleet_address::FleetAddress;
use sgl_fleet::presence::RouterPresence;
use sgl_fleet::store::FleetStore;
use sgl_fleet::{FleetStateError, KeyPart};
use sglang_router_rs::types::printable;

/// Runs a command. Must not be called inside a runtime.
///
/// # Errors
///
/// [`CommandError`], which has an exit code.
pub fn run(args: &FleetArgs) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(command(args));
    if let (true, Some(problem)) = (args.json, done.as_ref().err().and_then(CommandError::problem)) {
        print(&problem, true, |_| String::new())?;
    }
    done
}

async fn command(args: &FleetArgs) -> Result<(), CommandError> {
    let store = open(args).await?;
    match &args.command {
        FleetCommand::Status => {
            let (desired, live) = Box::pin(known(&store)).await?;
            print(&fleet_view::view(store.fleet().as_str(), &desired, &live), args.json, status::page)
        }
        FleetCommand::Push(push) => {
            // Before there is anything to follow: a router that follows nothing begins with whatever is there.
            store.begin_epoch().await?;
            let (name, pushed) = push::push(&store, push, &args.ca_cert_paths, &operator()).await?;
            let mut now = pushed;
            if push.wait {
                tell(&status::line(&one(&name, &now, &[])));
                now = push::wait(&store, &name, now.plugin.target.generation).await?;
            }
            // It is pushed, whether anything is known of the routers or not.
            let live = store.live().await.ok();
            let view = one(&name, &now, live.as_deref().unwrap_or_default());
            live.iter().for_each(|live| tell(&status::warnings(&view, live.len())));
            print(&view, args.json, status::line)
        }
        FleetCommand::Rollback(change) => {
            let reason = match change.reason.as_str() {
                "" => format!("rolled back by {}", operator()),
                reason => format!("rolled back by {}: {reason}", operator()),
            };
            changed(&store, change, args.json, |plugin| plugin.rolled_back(&reason)).await
        }
        FleetCommand::Remove(change) => {
            let reason = match change.reason.as_str() {
                "" => format!("removed by {}", operator()),
                reason => format!("removed by {}: {reason}", operator()),
            };
            changed(&store, change, args.json, |plugin| plugin.removed(&reason)).await
        }
        FleetCommand::Pause(change) => {
            changed(&store, change, args.json, |plugin| plugin.paused(true, &operator())).await
        }
        FleetCommand::Resume(change) => {
            changed(&store, change, args.json, |plugin| plugin.paused(false, &operator())).await
        }
        FleetCommand::Adopt(adopt) => adopted(&store, adopt, args.json).await,
    }
}

async fn open(args: &FleetArgs) -> Result<FleetStore, CommandError> {
    let name = args.fleet_name.as_deref().ok_or_else(|| {
        CommandError::Usage(
            "which fleet? --fleet-name NAME, or the variable SGL_ROUTER_FLEET_NAME".to_owned(),
        )
    })?;
    let fleet = KeyPart::parse("fleet", name)?;
    let settings = ConnectionSettings {
        address: FleetAddress::parse(&args.fleet)?,
        access: args.access.access().map_err(CommandError::Usage)?,
        tls: args.access.tls(&args.ca_cert_paths).map_err(CommandError::Usage)?,
        replicas: args.access.replicas().map_err(CommandError::Usage)?,
        name: format!("sgl-router fleet, {}", operator()),
    };
    Ok(FleetStore::new(FleetConnection::now(&settings).await?, fleet))
}

/// Who asks, for those who look later.
fn operator() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = user.unwrap_or_else(|_| "operator".to_owned());
    printable(format!("{user}@{}", machine.trim()).trim_end_matches('@'))
}

async fn changed(
    store: &FleetStore,
    args: &FleetChangeArgs,
    json: bool,
    change: impl Fn(&DesiredPlugin) -> Result<DesiredPlugin, FleetStateError>,
) -> Result<(), CommandError> {
    let plugin = KeyPart::parse("plugin", &args.name)?;
    let change = |now: Option<&DesiredPlugin>| {
        let Some(now) = now else { return Ok(None) };
        let found = now.target.generation;
        match args.generation.filter(|wanted| *wanted != found) {
            Some(wanted) => {
                let text = format!("{plugin}: the newest generation is {found}, not {wanted}");
                Err(FleetStateError::Refused(text))
            }
            None => change(now).map(Some),
        }
    };
    match store.change(&plugin, change).await? {
        Some(now) => {
            let live = store.live().await.unwrap_or_default();
            print(&one(&plugin, &now, &live), json, status::line)
        }
        None => Err(CommandError::NotInFleet(format!("the fleet {} has no plugin {plugin}", store.fleet()))),
    }
}

/// Says what is right after the server lost data.
async fn adopted(store: &FleetStore, args: &AdoptArgs, json: bool) -> Result<(), CommandError> {
    let (desired, live) = Box::pin(known(store)).await?;
    if let Some(from) = &args.from
        && live.iter().all(|router| router.router != *from)
    {
        let names = live.iter().map(|router| router.router.as_str()).collect::<Vec<_>>().join(", ");
        let text = format!("router {from} is not heard of; those that are: {names}");
        return Err(FleetStateError::Refused(text).into());
    }
    let serves = |router: &RouterPresence| router.plugins.values().any(|health| health.serving > 0);
    let is_lost = live.iter().any(|router| router.holding.is_some() && serves(router));
    if args.from.is_none() && desired.plugins.is_empty() && is_lost {
        let text =
            "nothing is to be served by what is in NATS now: --from ROUTER writes down what that one serves";
        return Err(FleetStateError::Refused(text.to_owned()).into());
    }
    let replaced: Vec<String> = live.iter().filter_map(|router| router.epoch.clone()).collect();
    let replace = |before: Option<Epoch>| {
        let mut replaces = replaced.clone();
        if let Some(before) = before {
            replaces.push(before.id);
            replaces.extend(before.replaces);
        }
        replaces.sort();
        replaces.dedup();
        Epoch::new(replaces, args.from.clone())
    };
    let epoch = store.replace_epoch(replace).await?;
    let what = match &args.from {
        Some(from) => format!("what router {from} serves"),
        None => "what is in NATS".to_owned(),
    };
    if args.from.is_none() {
        desired
            .malformed
            .values()
            .for_each(|fault| tell(&format!("it stays as it is: {}\n", printable(fault))));
    }
    let done = json!({"epoch": epoch.id, "replaces": epoch.replaces, "from": epoch.from});
    print(&done, json, |_| format!("epoch {}: {what} counts from now on\n", epoch.id))
}

/// What a fleet is to serve, and its routers.
///
/// # Errors
///
/// [`FleetStateError::Refused`] with the fleets that there are, if nobody has said anything of this one.
async fn known(store: &FleetStore) -> Result<(DesiredSet, Vec<RouterPresence>), CommandError> {
    let (desired, live) = (store.desired().await?, store.live().await?);
    if desired != DesiredSet::default() || !live.is_empty() {
        return Ok((desired, live));
    }
    let (fleets, name) = (store.fleets().await?, store.fleet());
    let text = if fleets.is_empty() {
        format!(
            "there is no fleet {name} in NATS, and no other: its first router or the first push begins it"
        )
    } else {
        let fleets = fleets.into_iter().collect::<Vec<_>>().join(", ");
        format!("there is no fleet {name} in NATS; those that there are: {fleets}")
    };
    Err(FleetStateError::Refused(text).into())
}

fn one(name: &KeyPart, plugin: &RevisedPlugin, live: &[RouterPresence]) -> FleetPluginView {
    let plugins = [(name.as_str().to_owned(), plugin.clone())].into();
    let view = fleet_view::view("", &DesiredSet { plugins, ..DesiredSet::default() }, live);
    view.plugins.into_iter().next().unwrap_or_default()
}

/// What is told beside the answer; standard output belongs to that.
#[expect(clippy::print_stderr, reason = "a person waits, or is warned")]
fn tell(text: &str) {
    eprint!("{text}");
}
