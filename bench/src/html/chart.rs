//! Plots as inline SVG: lines over time, and points in rows.
//!
//! Made here rather than by a plotting library, because the page's style sheet must own every colour (light and dark are one
//! document) and because text must stay text, to be found and read aloud. What a library would give, axes and ticks, is
//! [`scale`](super::scale).

use maud::{Markup, html};

use super::scale::Scale;

/// A line.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Class of the style sheet that gives it its colour.
    pub class: &'static str,
    /// x and y in order of x; a line is broken where there is no y.
    pub points: Vec<(f64, Option<f64>)>,
    /// Filled down to the axis.
    pub area: bool,
}

/// An axis with its words.
pub struct Axis {
    /// What it shows, with its unit.
    pub label: &'static str,
    /// How a value is written beside it.
    pub format: fn(f64) -> String,
    /// Where values lie.
    pub scale: Scale,
}

/// Lines over one x axis.
pub struct Plot {
    /// What it shows, for those who cannot see it.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines; the last is drawn on top.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;

impl Plot {
    /// Legend and drawing.
    pub fn render(&self) -> Markup {
        let view = format!("0 0 {WIDTH} {HEIGHT}");
        html! {
            ul class="legend" {
                @for line in &self.lines { li class=(line.class) { (line.name) } }
            }
            svg class="plot" viewBox=(view) role="img" aria-label=(self.title) {
                (self.grid())
                @for line in &self.lines { (self.line(line)) }
                (self.labels())
                (self.readings())
            }
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.scale.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self) -> Markup {
        let level = |value: f64, class: &str| {
            let y = px(self.y(value));
            html! { line class=(class) x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(y) y2=(y) {} }
        };
        html! {
            @for value in self.y.scale.minor() { (level(value, "minor")) }
            @for value in self.y.scale.marks() { (level(value, "major")) }
            @for value in self.x.scale.marks() {
                @let x = px(self.x(value));
                line class="minor" x1=(x) x2=(x) y1=(px(TOP)) y2=(px(HEIGHT - BOTTOM)) {}
            }
        }
    }

    fn labels(&self) -> Markup {
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let center = (TOP + HEIGHT - BOTTOM) / 2.0;
        html! {
            line class="axis" x1=(px(LEFT)) x2=(px(WIDTH - RIGHT)) y1=(px(HEIGHT - BOTTOM)) y2=(px(HEIGHT - BOTTOM)) {}
            @for value in self.y.scale.marks() {
                text class="mark end" x=(px(LEFT - 8.0)) y=(px(self.y(value) + 4.0)) { ((self.y.format)(value)) }
            }
            @for value in self.x.scale.marks() {
                text class="mark middle" x=(px(self.x(value))) y=(px(HEIGHT - BOTTOM + 18.0)) { ((self.x.format)(value)) }
            }
            text class="label middle" x=(px(middle)) y=(px(HEIGHT - 6.0)) { (self.x.label) }
            text class="label middle" transform=(format!("translate(13 {}) rotate(-90)", px(center))) { (self.y.label) }
        }
    }

    fn line(&self, line: &Line) -> Markup {
        let mut path = String::new();
        let mut area = String::new();
        let base = px(HEIGHT - BOTTOM);
        for stretch in line.points.split(|(_, y)| y.is_none()).filter(|stretch| !stretch.is_empty()) {
            let places: Vec<(String, String)> =
                stretch.iter().filter_map(|(x, y)| Some((px(self.x(*x)), px(self.y((*y)?))))).collect();
            for (i, (x, y)) in places.iter().enumerate() {
                path.push_str(&format!("{}{x} {y}", if i == 0 { "M" } else { "L" }));
            }
            if let ([(x, _)], true) = (places.as_slice(), stretch.len() == 1) {
                // A single point would be no line at all.
                path.push_str(&format!("H{x}.5"));
            }
            if let (true, Some((first, _)), Some((last, _))) = (line.area, places.first(), places.last()) {
                let tops: Vec<String> = places.iter().map(|(x, y)| format!("L{x} {y}")).collect();
                area.push_str(&format!("M{first} {base}{}L{last} {base}Z", tops.concat()));
            }
        }
        html! {
            @if line.area { path class=(format!("area {}", line.class)) d=(area) {} }
            path class=(format!("line {}", line.class)) d=(path) {}
        }
    }

    /// What the pointer reads: all lines at one x.
    fn readings(&self) -> Markup {
        let Some(longest) = self.lines.iter().max_by_key(|line| line.points.len()) else { return html! {} };
        let xs: Vec<f64> = longest.points.iter().map(|(x, _)| *x).collect();
        let edge = |i: usize| match (i.checked_sub(1).and_then(|i| xs.get(i)), xs.get(i)) {
            (Some(before), Some(here)) => self.x((before + here) / 2.0),
            (None, _) => LEFT,
            (_, None) => WIDTH - RIGHT,
        };
        html! {
            @for (i, x) in xs.iter().enumerate() {
                g class="reading" {
                    line x1=(px(self.x(*x))) x2=(px(self.x(*x))) y1=(px(TOP)) y2=(px(HEIGHT - BOTTOM)) {}
                    rect x=(px(edge(i))) y=(px(TOP)) width=(px((edge(i + 1) - edge(i)).max(0.0)))
                        height=(px(HEIGHT - TOP - BOTTOM)) {
                        title { (self.reading(*x)) }
                    }
                }
            }
        }
    }

    fn reading(&self, x: f64) -> String {
        let mut words = format!("{} {}", (self.x.format)(x), self.x.label);
        for line in &self.lines {
            let at = line.points.partition_point(|(here, _)| *here < x);
            if let Some((_, Some(y))) = line.points.get(at).or(line.points.last()) {
                words.push_str(&format!("\n{}: {}", line.name, (self.y.format)(*y)));
            }
        }
        words
    }
}

/// A row of a [`Rows`]: values on one line.
pub struct Row {
    /// Its name.
    pub name: String,
    /// Class of its colour.
    pub class: &'static str,
    /// Points with their class and what the pointer reads, least first; a line joins them.
    pub points: Vec<(f64, &'static str, String)>,
    /// Written at the end of the row.
    pub value: String,
}

/// Values of several subjects, a row each, along one axis: for values of very different magnitudes.
pub struct Rows {
    /// What it shows, for those who cannot see it.
    pub title: String,
    /// The axis.
    pub x: Axis,
    /// The rows, from the top.
    pub rows: Vec<Row>,
    /// Names of the points' classes, where they differ.
    pub legend: Vec<(&'static str, &'static str)>,
}

const ROW: f64 = 34.0;
const NAME: f64 = 170.0;
const VALUE: f64 = 200.0;

impl Rows {
    /// Legend and drawing.
    pub fn render(&self) -> Markup {
        let bottom = TOP + ROW * self.rows.len() as f64;
        let height = bottom + BOTTOM;
        let x = |value: f64| NAME + self.x.scale.place(value) * (WIDTH - NAME - VALUE);
        html! {
            @if !self.legend.is_empty() {
                ul class="legend dots" { @for (class, name) in &self.legend { li class=(class) { (name) } } }
            }
            svg class="plot" viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(self.title) {
                @for (class, values) in [("minor", self.x.scale.minor()), ("major", self.x.scale.marks())] {
                    @for value in values {
                        line class=(class) x1=(px(x(value))) x2=(px(x(value))) y1=(px(TOP)) y2=(px(bottom)) {}
                    }
                }
                @for value in self.x.scale.marks() {
                    text class="mark middle" x=(px(x(value))) y=(px(bottom + 18.0)) { ((self.x.format)(value)) }
                }
                text class="label middle" x=(px((NAME + WIDTH - VALUE) / 2.0)) y=(px(height - 6.0)) { (self.x.label) }
                @for (i, row) in self.rows.iter().enumerate() {
                    @let y = TOP + ROW * (i as f64 + 0.5);
                    text class="name end" x=(px(NAME - 14.0)) y=(px(y + 5.0)) { (row.name) }
                    line class="major" x1=(px(NAME)) x2=(px(WIDTH - VALUE)) y1=(px(y)) y2=(px(y)) {}
                    @if let (Some((first, ..)), Some((last, ..))) = (row.points.first(), row.points.last()) {
                        line class=(format!("span {}", row.class)) x1=(px(x(*first))) x2=(px(x(*last))) y1=(px(y)) y2=(px(y)) {}
                    }
                    @for (value, class, words) in &row.points {
                        circle class=(format!("dot {} {class}", row.class)) cx=(px(x(*value))) cy=(px(y)) r="6" {
                            title { (words) }
                        }
                    }
                    text class="value" x=(px(WIDTH - VALUE + 16.0)) y=(px(y + 5.0)) { (row.value) }
                }
            }
        }
    }
}

/// A coordinate with as many digits as a screen shows.
fn px(value: f64) -> String {
    format!("{:.1}", if value.is_finite() { value } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::number;

    fn plot(points: Vec<(f64, Option<f64>)>) -> String {
        let axis = |label, to| Axis { label, format: number::short, scale: Scale::linear(to) };
        let line = Line { name: "a<b".into(), class: "c1", points, area: true };
        Plot { title: "t".into(), x: axis("s", 10.0), y: axis("n", 10.0), lines: vec![line] }.render().into_string()
    }

    #[test]
    fn a_line_is_broken_where_there_is_no_value() {
        let drawn = plot(vec![(0.0, Some(0.0)), (1.0, Some(5.0)), (2.0, None), (3.0, Some(5.0)), (4.0, Some(1.0))]);
        let path = drawn.split("class=\"line c1\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 2, "{path}");
    }

    #[test]
    fn names_are_escaped_and_no_coordinate_is_not_a_number() {
        let drawn = plot(vec![(0.0, Some(f64::NAN)), (f64::INFINITY, Some(1.0))]);
        assert!(drawn.contains("a&lt;b") && !drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        assert!(!plot(Vec::new()).contains("NaN"));
    }
}
