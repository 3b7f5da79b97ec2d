//! The screen drawn: rooms, what is said, who is there, what is typed.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

use super::model::{Line, Model, Overlay, Room, Tone};

const ROOMS_WIDTH: u16 = 26;
const MEMBERS_WIDTH: u16 = 34;
/// A narrower terminal shows no members.
const WIDE: u16 = 100;
/// Rows for the last thing that was told.
const NOTICE_ROWS: usize = 3;

pub(super) fn draw(frame: &mut Frame, model: &Model) {
    let width = usize::from(frame.area().width);
    let mut notice = match &model.notice {
        Some(line) => wrapped(line, width),
        None => Vec::new(),
    };
    notice.truncate(NOTICE_ROWS);
    let [main, said, status, input] = Layout::vertical([
        Constraint::Min(3),
        Constraint::Length(u16::try_from(notice.len()).unwrap_or(0)),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let members = match model.show_members && main.width >= WIDE {
        true => MEMBERS_WIDTH,
        false => 0,
    };
    let [rooms, talk, people] = Layout::horizontal([
        Constraint::Length(ROOMS_WIDTH),
        Constraint::Min(20),
        Constraint::Length(members),
    ])
    .areas(main);
    draw_rooms(frame, rooms, model);
    draw_talk(frame, talk, model.current());
    if members > 0 {
        draw_members(frame, people, model.current());
    }
    frame.render_widget(Paragraph::new(notice), said);
    draw_status(frame, status, model);
    draw_input(frame, input, model);
    if let Some(overlay) = &model.overlay {
        draw_overlay(frame, main, overlay);
    }
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Said => Style::new(),
        Tone::Own => Style::new().fg(Color::Cyan),
        Tone::Change => Style::new().fg(Color::DarkGray),
        Tone::Alert => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

fn draw_rooms(frame: &mut Frame, area: Rect, model: &Model) {
    let rows: Vec<Row> = model
        .rooms
        .iter()
        .enumerate()
        .map(|(place, room)| {
            let unread = match room.unread {
                0 => String::new(),
                count => format!("({count}) "),
            };
            let text = format!("{unread}{}{}", room.title, room.standing);
            let mut style = Style::new();
            if room.unread > 0 {
                style = style.add_modifier(Modifier::BOLD);
            }
            if place == model.selected {
                style = style.add_modifier(Modifier::REVERSED);
            }
            Row::styled(text, style)
        })
        .collect();
    let height = usize::from(area.height.saturating_sub(2));
    let top = (model.selected + 1).saturating_sub(height);
    let shown: Vec<Row> = rows.into_iter().skip(top).collect();
    let block = Block::new().borders(Borders::ALL).title("rooms");
    frame.render_widget(Paragraph::new(shown).block(block), area);
}

fn draw_talk(frame: &mut Frame, area: Rect, room: Option<&Room>) {
    let (width, height) = (
        usize::from(area.width.saturating_sub(2)),
        usize::from(area.height.saturating_sub(2)),
    );
    let (title, rows) = match room {
        Some(room) => (title(room), tail(room, width, height)),
        None => (
            "no room yet".to_owned(),
            vec![Row::raw(
                "/create NAME, /talk ACCOUNT, or wait to be invited; F1 helps",
            )],
        ),
    };
    let block = Block::new().borders(Borders::ALL).title(title);
    let block = match room {
        Some(room) if !room.typing.is_empty() => block.title_bottom(format!(" {} ", room.typing)),
        _ => block,
    };
    frame.render_widget(Paragraph::new(rows).block(block), area);
}

fn title(room: &Room) -> String {
    match room.back {
        _ if room.until.is_some() => format!("{} of long ago: Esc for the newest", room.title),
        0 => room.title.clone(),
        back => format!("{} ↓ {back} more lines", room.title),
    }
}

/// The last rows that fit, ending where the person has scrolled to.
fn tail(room: &Room, width: usize, height: usize) -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    for line in room.lines.iter().rev().skip(room.back) {
        let marked = room.marked.is_some_and(|id| line.is(id));
        let wrapped = wrapped(line, width).into_iter().rev();
        rows.extend(wrapped.map(|row| match marked {
            true => row.patch_style(Modifier::REVERSED),
            false => row,
        }));
        if rows.len() >= height {
            break;
        }
    }
    rows.truncate(height);
    rows.reverse();
    rows
}

/// A line broken where the room ends.
fn wrapped(line: &Line, width: usize) -> Vec<Row<'static>> {
    let style = style(line.tone);
    let mut rows = Vec::new();
    let (mut row, mut used) = (String::new(), 0);
    for word in line.text.split_inclusive(' ') {
        let wide = Span::raw(word).width();
        if used > 0 && used + wide > width {
            rows.push(Row::styled(std::mem::take(&mut row), style));
            used = 0;
        }
        if wide <= width {
            row.push_str(word);
            used += wide;
            continue;
        }
        for c in word.chars() {
            let wide = Span::raw(c.to_string()).width();
            if used + wide > width {
                rows.push(Row::styled(std::mem::take(&mut row), style));
                used = 0;
            }
            row.push(c);
            used += wide;
        }
    }
    rows.push(Row::styled(row, style));
    rows
}

fn draw_members(frame: &mut Frame, area: Rect, room: Option<&Room>) {
    let mut rows = Vec::new();
    for member in room.iter().flat_map(|room| &room.members) {
        let tone = if member.changed {
            Tone::Alert
        } else {
            Tone::Said
        };
        let text = format!("{} {}", member.mark, member.name);
        rows.push(Row::styled(text, style(tone)));
        let words = format!("    {}", member.words);
        let tone = if member.changed {
            Tone::Alert
        } else {
            Tone::Change
        };
        rows.push(Row::styled(words, style(tone)));
    }
    let block = Block::new().borders(Borders::ALL).title("members");
    frame.render_widget(Paragraph::new(rows).block(block), area);
}

fn draw_status(frame: &mut Frame, area: Rect, model: &Model) {
    let bar = Style::new().add_modifier(Modifier::REVERSED);
    let mut spans = vec![Span::styled(
        format!(" {}  {} ", model.account, model.connection),
        bar,
    )];
    if model.unseen_alerts > 0 {
        let text = format!(" {} alerts: F4 ", model.unseen_alerts);
        spans.push(Span::styled(
            text,
            style(Tone::Alert).add_modifier(Modifier::REVERSED),
        ));
    }
    if !model.working.is_empty() {
        spans.push(Span::raw(format!(" {} ", model.working)));
    }
    spans.push(Span::styled(
        " F1 help  Tab next room  F2 members  F3 devices  F4 alerts  Ctrl-C end",
        style(Tone::Change),
    ));
    frame.render_widget(Paragraph::new(Row::from(spans)), area);
}

fn draw_input(frame: &mut Frame, area: Rect, model: &Model) {
    let before: String = model.input.iter().take(model.cursor).collect();
    let text: String = model.input.iter().collect();
    let width = usize::from(area.width.saturating_sub(3));
    let column = Span::raw(before.as_str()).width();
    let hidden = u16::try_from(column.saturating_sub(width)).unwrap_or(u16::MAX);
    let [prompt, field] =
        Layout::horizontal([Constraint::Length(2), Constraint::Min(1)]).areas(area);
    frame.render_widget(Paragraph::new("> "), prompt);
    frame.render_widget(Paragraph::new(text).scroll((0, hidden)), field);
    let column = u16::try_from(column)
        .unwrap_or(u16::MAX)
        .saturating_sub(hidden);
    frame.set_cursor_position(Position::new(field.x.saturating_add(column), field.y));
}

fn draw_overlay(frame: &mut Frame, area: Rect, overlay: &Overlay) {
    let title = format!("{}: Esc closes, Page Up and Down scroll", overlay.title);
    let block = Block::new().borders(Borders::ALL).title(title);
    let width = usize::from(area.width.saturating_sub(2));
    let rows: Vec<Row> = overlay
        .lines
        .iter()
        .enumerate()
        .skip(overlay.top)
        .flat_map(|(place, text)| {
            let picked = !overlay.hits.is_empty() && place == overlay.picked;
            let style = match picked {
                true => Style::new().add_modifier(Modifier::REVERSED),
                false => Style::new(),
            };
            let rows = wrapped(&Line::new(Tone::Said, text), width);
            rows.into_iter().map(move |row| row.patch_style(style))
        })
        .take(usize::from(area.height))
        .collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(rows).block(block), area);
}

#[cfg(test)]
mod tests {
    use super::super::model::Member;
    use super::*;
    use comity_xmpp::jid::BareJid;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(model: &Model, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n")
            .collect()
    }

    fn model() -> Model {
        let jid = |text: &str| BareJid::parse(text).unwrap();
        let mut model = Model::new(&jid("alice@a.example"));
        let room = model.room(&jid("~one@a.example"));
        "Tea".clone_into(&mut room.title);
        room.push(Line::new(
            Tone::Said,
            "bob@b.example: hello \u{1b}[31mred\u{202e}",
        ));
        room.members.push(Member {
            mark: '✘',
            name: "bob@b.example (1234abcd)".to_owned(),
            words: "KEYS CHANGED".to_owned(),
            changed: true,
            account: "bob@b.example".to_owned(),
        });
        model.room(&jid("~two@a.example")).unread = 7;
        model
    }

    #[test]
    fn everything_is_on_a_wide_screen_and_nothing_moves_it() {
        let mut model = model();
        model.alert("WARNING: the server lies");
        "typed".chars().for_each(|c| model.type_char(c));
        "catching up with Tea: 3 of 70".clone_into(&mut model.working);
        model.rooms[0].typing = "bob@b.example is typing".to_owned();
        let screen = drawn(&model, 120, 20);
        for part in [
            "Tea",
            "(7) ~two@a.example",
            "bob@b.example: hello \u{fffd}[31mred\u{fffd}",
            "✘ bob@b.example (1234abcd)",
            "KEYS CHANGED",
            "1 alerts: F4",
            "the server lies",
            "> typed",
            "bob@b.example is typing",
            "3 of 70",
        ] {
            assert!(screen.contains(part), "{part} is not in\n{screen}");
        }
        assert!(!screen.contains('\u{1b}'));
    }

    #[test]
    fn small_screens_and_long_lines_do_no_harm() {
        let mut model = model();
        for n in 0..50 {
            let words = format!("line {n} {}", "verylongword".repeat(n));
            model.rooms[0].push(Line::new(Tone::Own, &words));
        }
        for (width, height) in [(1, 1), (10, 3), (40, 5), (80, 24), (300, 90)] {
            drawn(&model, width, height);
        }
        let bottom = drawn(&model, 80, 24);
        model.scroll(true, 40);
        let above = drawn(&model, 80, 24);
        assert_ne!(bottom, above);
        assert!(above.contains("more lines"), "{above}");
        model.show("help", vec!["one".to_owned(); 100]);
        assert!(drawn(&model, 80, 24).contains("Esc closes"));
    }
}
