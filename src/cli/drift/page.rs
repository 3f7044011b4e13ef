//! The page of `evergreen drift --html`: one file with charts, without scripts and without anything from elsewhere.

use std::fmt::Write as _;

use super::DayOrRows;
use crate::models::ModelVersion;
use crate::models::contract::safe;
use crate::observe::report::{Drift, DriftReport, FeatureDrift};
use crate::words::thousands;

/// Colours come from variables, so that the page follows the reader's light or dark setting.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2a24;--quiet:#5c6b63;--paper:#fff;--line:#dde4e0;--was:#a9b8b0;--now:#1f7a4d;--moved:#b3411e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6ece8;--quiet:#9fb0a7;--paper:#141a17;--line:#2b3631;--was:#5d6f66;--now:#5cc48f;--moved:#f08a62}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:72rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:0}p{margin:.3rem 0}.quiet{color:var(--quiet)}\
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem;margin-top:1rem}\
article{border:1px solid var(--line);border-radius:.5rem;padding:1rem}.moved h2{color:var(--moved)}\
svg{width:100%;height:auto;display:block;margin-top:.5rem}text{fill:var(--quiet);font:11px system-ui,sans-serif}\
.was{fill:var(--was)}.now{fill:var(--now)}.moved .now{fill:var(--moved)}\
.key span{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em;border-radius:2px}";

/// Height of a bin, its two bars and the gap, in units of the drawing.
const ROW: usize = 22;

/// Where the bars begin and end.
const LEFT: f64 = 130.0;
const RIGHT: f64 = 330.0;

/// Writes the page for reports of a model, one section for each.
pub(super) fn page(model: &ModelVersion, reports: &[(DayOrRows, DriftReport)]) -> String {
    let mut out = String::new();
    let name = safe(&model.name);
    // Writing to a text cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Drift of {name}</title><style>{STYLE}</style></head><body><main>\
         <h1>Drift of {name}, version {}</h1>\
         <p class=\"key quiet\">Share of each bin: <span style=\"background:var(--was)\"></span>at training \
         <span style=\"background:var(--now)\"></span>in the window</p>",
        model.version
    );
    for (window, report) in reports {
        let title = match reports.len() {
            1 => String::new(),
            _ => format!("{window}: "),
        };
        section(&mut out, model, &title, report);
    }
    out.push_str("</main></body></html>\n");
    out
}

fn section(out: &mut String, model: &ModelVersion, title: &str, report: &DriftReport) {
    let _ = write!(
        out,
        "<section><p><strong>{title}{}</strong></p><div class=\"grid\">",
        report.text
    );
    if let Some(score) = &report.score {
        let text = match score.distance {
            Some(distance) => format!(
                "PSI {:.3}; by chance up to {:.3} over {} rows",
                distance.psi,
                distance.chance,
                thousands(report.rows)
            ),
            None => "no rows".to_owned(),
        };
        article(out, "Score", &text, score.drifted, score);
    }
    let mut features: Vec<&FeatureDrift> = report.drifted();
    let mut others: Vec<&FeatureDrift> = report
        .features
        .iter()
        .filter(|feature| !feature.drifted())
        .collect();
    others.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    features.extend(others);
    for feature in features {
        let Some(input) = model.inputs.get(feature.input) else {
            continue;
        };
        let weight = format!("{:.0}% of what the model relies on", 100.0 * feature.weight);
        let text = format!("{weight}. {}", feature.text);
        article(
            out,
            input.contract.label(),
            &text,
            feature.drifted(),
            &feature.values,
        );
    }
    out.push_str("</div></section>");
}

fn article(out: &mut String, title: &str, text: &str, moved: bool, drift: &Drift) {
    let class = if moved { " class=\"moved\"" } else { "" };
    let _ = write!(
        out,
        "<article{class}><h2>{}</h2><p class=\"quiet\">{text}</p>",
        safe(title)
    );
    chart(out, drift);
    out.push_str("</article>");
}

/// Two bars for each bin with rows: at training above, in the window below.
fn chart(out: &mut String, drift: &Drift) {
    let bins = drift
        .labels
        .iter()
        .zip(drift.expected.iter().zip(&drift.observed));
    let bins: Vec<_> = bins.filter(|(_, (was, now))| **was + **now > 0.0).collect();
    let most = bins
        .iter()
        .map(|(_, (was, now))| was.max(**now))
        .fold(f64::MIN_POSITIVE, f64::max);
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 400 {}\" role=\"img\" aria-label=\"Share of each bin at training and in the window\">",
        bins.len() * ROW
    );
    for (position, (label, (was, now))) in bins.into_iter().enumerate() {
        let top = position * ROW;
        let width = |share: f64| share / most * (RIGHT - LEFT);
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"was\" x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"8\"/>\
             <rect class=\"now\" x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"8\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.0}% → {:.0}%</text>",
            LEFT - 6.0,
            top + 13,
            safe(&shortened(label)),
            top + 2,
            width(*was),
            top + 10,
            width(*now),
            LEFT + width(was.max(*now)) + 5.0,
            top + 13,
            100.0 * was,
            100.0 * now,
        );
    }
    out.push_str("</svg>");
}

/// A label that fits beside the bars.
fn shortened(label: &str) -> String {
    const MOST: usize = 20;
    match label.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &label[..end]),
        None => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_label_is_cut_between_letters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"ä".repeat(30)), format!("{}…", "ä".repeat(20)));
    }
}
