//! `sgl-router top`: a running router in a terminal, looked at once a second.

mod history;
mod screen;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use http::Method;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::runtime::Runtime;

use crate::cli::admin_args::AdminArgs;
use crate::cli::plugin::client::{AdminClient, Call};
use crate::cli::plugin::command_error::CommandError;
use crate::cli::top::history::{History, RouterLook};
use crate::cli::top::screen::{Screen, draw};
use sgl_api::EventList;

/// A running router in a terminal: requests, latencies, workers and events, once a second
///
/// Keys: q ends, up and down move through the workers, s sorts them by another column, p pauses. The token
/// of the operators' listener comes from --admin-token-file or the variable SGL_ROUTER_ADMIN_TOKEN.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// Which router
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Seconds from one look to the next, 0.1 to 60
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = interval)]
    pub interval: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("found {text:?}; allowed: 0.1 to 60"))?;
    if (0.1..=60.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(format!("found {text}; allowed: 0.1 to 60"))
    }
}

/// Shows it until a key ends it. Must not be called inside a runtime.
///
/// # Errors
///
/// [`CommandError`] if there is no terminal, or if the router refuses the first look. A router that cannot be
/// reached later is asked again.
pub fn run(args: &TopArgs) -> Result<(), CommandError> {
    if !std::io::stdout().is_terminal() {
        let hint =
            "top draws on a terminal, which standard output is not; `sgl-router status` prints the same once";
        return Err(CommandError::Usage(hint.to_owned()));
    }
    let client = AdminClient::new(&args.admin)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let first = runtime.block_on(look(&client))?;
    let mut terminal = ratatui::try_init()?;
    let done = turns(&mut terminal, &runtime, &client, first, Duration::from_secs_f64(args.interval));
    ratatui::restore();
    done
}

/// Looks, draws, and does what keys say, until one says that it is enough.
fn turns(
    terminal: &mut DefaultTerminal,
    runtime: &Runtime,
    client: &AdminClient,
    first: RouterLook,
    interval: Duration,
) -> Result<(), CommandError> {
    let (mut history, mut screen) = (History::new(first), Screen::default());
    let mut next = Instant::now() + interval;
    loop {
        terminal.draw(|frame| draw(frame, &history, &mut screen))?;
        if let Some(key) = pressed(next.saturating_duration_since(Instant::now()))? {
            if !screen.press(key) {
                return Ok(());
            }
            continue;
        }
        if Instant::now() < next {
            // The terminal has another size now.
            continue;
        }
        next = Instant::now() + interval;
        if !screen.is_paused() {
            screen.trouble = match runtime.block_on(look(client)) {
                Ok(look) => {
                    history.push(look);
                    None
                }
                Err(error) => Some(error.to_string()),
            };
        }
    }
}

/// The key that is pressed within a time.
fn pressed(within: Duration) -> Result<Option<KeyCode>, CommandError> {
    if !event::poll(within)? {
        return Ok(None);
    }
    let Event::Key(key) = event::read()? else { return Ok(None) };
    if key.kind != KeyEventKind::Press {
        return Ok(None);
    }
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    Ok(Some(if is_interrupt { KeyCode::Esc } else { key.code }))
}

async fn look(client: &AdminClient) -> Result<RouterLook, CommandError> {
    let get = |path| Call::new(Method::GET, path);
    let status = client.json(get("/v1/status")).await?;
    let workers: sgl_api::WorkerList = client.json(get("/workers")).await?;
    let events: EventList = client.json(get("/v1/events?limit=8")).await?;
    Ok(RouterLook { at: Instant::now(), status, workers: workers.workers, events: events.events })
}
