//! The picture in the terminal.

use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState};

use crate::cli::status::{
    known, latency, policy_words, report_age, seconds, span, trial_line, trouble, worker_state,
};
use crate::cli::top::history::{History, Interval};
use sgl_api::{EventView, WorkerView};
use sglang_router_rs::types::printable;

/// What a person chose to see.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// Why the last look failed.
    pub trouble: Option<String>,
    sorted_by: Sorting,
    is_paused: bool,
    rows: TableState,
}

/// What the workers are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sorting {
    #[default]
    Table,
    InFlight,
    Failed,
    Queued,
}

impl Sorting {
    fn next(self) -> Self {
        match self {
            Self::Table => Self::InFlight,
            Self::InFlight => Self::Failed,
            Self::Failed => Self::Queued,
            Self::Queued => Self::Table,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Table => "the order of the table",
            Self::InFlight => "requests in flight",
            Self::Failed => "failed requests",
            Self::Queued => "queued requests",
        }
    }
}

impl Screen {
    /// Does what a key says; false if that is to end.
    pub(crate) fn press(&mut self, key: KeyCode) -> bool {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => self.sorted_by = self.sorted_by.next(),
            KeyCode::Down | KeyCode::Char('j') => self.rows.select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.rows.select_previous(),
            KeyCode::PageDown => self.rows.scroll_down_by(10),
            KeyCode::PageUp => self.rows.scroll_up_by(10),
            _ => {}
        }
        true
    }

    /// True while nothing is asked.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }
}

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, history: &History, screen: &mut Screen) {
    let head = if history.now().status.policy_trial.is_some() { 4 } else { 3 };
    let rows = [Constraint::Length(head), Constraint::Length(6), Constraint::Min(5), Constraint::Length(8)];
    let [head, curves, workers, events] = Layout::vertical(rows).areas(frame.area());
    draw_head(frame, head, history, screen);
    draw_curves(frame, curves, history);
    draw_workers(frame, workers, history, screen);
    draw_events(frame, events, &history.now().events);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, history: &History, screen: &Screen) {
    let status = &history.now().status;
    let (workers, requests) = (status.workers, status.requests);
    let state = match (&screen.trouble, status.ready, trouble(status)) {
        (Some(trouble), ..) => Span::from(printable(trouble)).red().bold(),
        (None, false, _) => Span::from("stopping").yellow().bold(),
        (None, true, Some(why)) => Span::from(printable(&why)).red().bold(),
        (None, true, None) => Span::from("serving").green(),
    };
    let paused = if screen.is_paused { "  paused".yellow() } else { Span::default() };
    let mut lines = vec![
        Line::from(vec![
            Span::from(format!("sgl-router {}  ", printable(&status.version))).bold(),
            state,
            Span::from(format!("  up {}", span(status.uptime_ms))),
            paused,
        ]),
        Line::from(format!(
            "policy {} ({})   {} of {} workers ready, {} draining   {} in flight, {} waiting",
            printable(&status.policy),
            policy_words(status),
            workers.healthy,
            workers.all,
            workers.draining,
            workers.in_flight,
            requests.waiting,
        )),
    ];
    if status.policy_trial.is_some() {
        lines.push(Line::from(trial_line(status).trim_end().to_owned()).yellow());
    }
    lines.push(Line::from("q ends   s sorts   p pauses   up and down move").dim());
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_curves(frame: &mut Frame<'_>, area: Rect, history: &History) {
    let [left, middle, right] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
    let now = history.lately();
    let both =
        |[median, high]: [Option<f64>; 2]| format!("{} median, {} 99 %", seconds(median), seconds(high));
    let failed = if now.failed > 0.0 { format!(", {:.1} fail", now.failed) } else { String::new() };
    curve(frame, left, history, &format!(" {:.1} requests/s{failed} ", now.rate), |step| Some(step.rate));
    curve(frame, middle, history, &format!(" first byte {} ", both(now.first_byte)), |step| {
        step.first_byte[0]
    });
    let decided = if history.now().status.policy_is_plugin {
        format!(" decision {} ", both(now.decision))
    } else {
        " decision: of a built-in policy, not measured ".to_owned()
    };
    curve(frame, right, history, &decided, |step| step.decision[0]);
}

/// The newest steps at the right edge, as high as their part of the highest.
fn curve(
    frame: &mut Frame<'_>,
    area: Rect,
    history: &History,
    title: &str,
    of: fn(&Interval) -> Option<f64>,
) {
    const FULL: f64 = 1000.0;
    let values: Vec<f64> = history.steps().map(|step| of(&step).unwrap_or(0.0)).collect();
    let width = usize::from(area.width.saturating_sub(2));
    let shown = values.get(values.len().saturating_sub(width)..).unwrap_or_default();
    let top = shown.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let bars = shown.iter().map(|value| (value / top * FULL) as u64);
    let padding = std::iter::repeat_n(0, width - shown.len());
    let bars: Vec<u64> = padding.chain(bars).collect();
    let block = Block::bordered().title(title.to_owned());
    frame.render_widget(Sparkline::default().block(block).data(bars).max(1000).style(Color::Blue), area);
}

const WIDTHS: [Constraint; 10] = [
    Constraint::Fill(3),
    Constraint::Fill(2),
    Constraint::Length(10),
    Constraint::Length(9),
    Constraint::Length(7),
    Constraint::Length(8),
    Constraint::Length(8),
    Constraint::Length(7),
    Constraint::Length(8),
    Constraint::Length(7),
];

fn draw_workers(frame: &mut Frame<'_>, area: Rect, history: &History, screen: &mut Screen) {
    let mut workers: Vec<&WorkerView> = history.now().workers.iter().collect();
    let queued = |worker: &WorkerView| worker.report.waiting.unwrap_or(-1);
    match screen.sorted_by {
        Sorting::Table => {}
        Sorting::InFlight => workers.sort_by_key(|worker| std::cmp::Reverse(worker.load)),
        Sorting::Failed => workers.sort_by_key(|worker| std::cmp::Reverse(worker.failed)),
        Sorting::Queued => workers.sort_by_key(|worker| std::cmp::Reverse(queued(worker))),
    }
    let head = [
        "WORKER",
        "STATE",
        "ENGINE",
        "IN FLIGHT",
        "SHARE",
        "RUNNING",
        "QUEUED",
        "LATENCY",
        "REPORT",
        "FAILED",
    ];
    let rows = workers.iter().map(|worker| row(worker, history));
    let title = format!(" {} workers, by {} ", workers.len(), screen.sorted_by.as_str());
    let table = Table::new(rows, WIDTHS)
        .header(Row::new(head).style(Style::new().add_modifier(Modifier::DIM)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::bordered().title(title));
    frame.render_stateful_widget(table, area, &mut screen.rows);
}

fn row(worker: &WorkerView, history: &History) -> Row<'static> {
    let state = worker_state(worker);
    let colour = match state.as_str() {
        "ready" => Color::Green,
        "draining" | "full" => Color::Yellow,
        _ => Color::Red,
    };
    Row::new([
        Cell::from(printable(&worker.url)),
        Cell::from(state).style(colour),
        Cell::from(printable(worker.engine.name.as_deref().unwrap_or("-"))),
        Cell::from(worker.load.to_string()),
        Cell::from(
            history
                .share(&worker.url)
                .map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
        ),
        Cell::from(known(worker.report.running)),
        Cell::from(known(worker.report.waiting)),
        Cell::from(latency(worker)),
        Cell::from(report_age(worker)),
        Cell::from(worker.failed.to_string()),
    ])
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, events: &[EventView]) {
    let line = |event: &EventView| {
        let colour = match event.level.as_str() {
            "error" => Color::Red,
            "warn" => Color::Yellow,
            _ => Color::Reset,
        };
        Line::from(vec![
            Span::from(time_of_day(event.at_unix_ms)).dim(),
            Span::from(format!(" {} ", printable(&event.what))).style(colour),
            Span::from(printable(&event.about.join(" "))).dim(),
        ])
    };
    let lines: Vec<Line<'_>> = events.iter().map(line).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" events, UTC ")), area);
}

fn time_of_day(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::cli::top::history::look;

    fn drawn(history: &History, screen: &mut Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, history, screen)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    #[test]
    fn picture_tells_what_the_router_told() {
        let mut history = History::new(look(1, 0));
        let mut second = look(2, 40);
        second.events.push(EventView {
            at_unix_ms: 3_723_000,
            level: "warn".to_owned(),
            what: "worker is gone".to_owned(),
            about: vec!["worker=http://a".to_owned()],
        });
        history.push(second);
        let text = drawn(&history, &mut Screen::default(), 120, 30);
        for part in [
            "sgl-router 1.2.3  serving  up 2 s",
            "policy least_load (built in)   1 of 2 workers ready, 1 draining   5 in flight, 3 waiting",
            "40.0 requests/s",
            "first byte 50 ms median, 99 ms 99 %",
            "01:02:03 worker is gone worker=http://a",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn policy_on_trial_is_told_with_how_far_it_is() {
        let mut now = look(1, 0);
        let bounds = sglang_router_rs::config::CanaryOptions { percent: 5.0, ..Default::default() };
        now.status.policy_trial = Some(sgl_api::PolicyTrialView {
            name: "lmetric".to_owned(),
            kind: sgl_api::PolicyKind::Plugin,
            bounds,
            for_secs: 12,
            own: sgl_api::TrialCounts { decisions: 7, failures: 1, ..Default::default() },
            stable: sgl_api::TrialCounts::default(),
        });
        let text = drawn(&History::new(now), &mut Screen::default(), 120, 30);
        let told = "on trial: lmetric with 5 % of the decisions for 12 of at least 30 s, 1 failed of 7 decisions, at least 1000";
        assert!(text.contains(told) && text.contains("q ends"), "{text}");
    }

    #[test]
    fn terminal_of_any_size_is_drawn_on() {
        let history = History::new(look(1, 0));
        for (width, height) in [(1, 1), (10, 3), (20, 8), (300, 100)] {
            drawn(&history, &mut Screen::default(), width, height);
        }
    }

    #[test]
    fn keys_sort_pause_and_end() {
        let mut screen = Screen::default();
        assert!(screen.press(KeyCode::Char('s')) && screen.sorted_by == Sorting::InFlight);
        assert!(screen.press(KeyCode::Char('p')) && screen.is_paused());
        assert!(!screen.press(KeyCode::Char('q')) && !screen.press(KeyCode::Esc));
        let trouble = Some("cannot be reached".to_owned());
        let mut screen = Screen { trouble, ..Screen::default() };
        assert!(drawn(&History::new(look(1, 0)), &mut screen, 80, 24).contains("cannot be reached"));
    }
}
