//! From the text that prometheus-client writes (OpenMetrics) to the Prometheus text format 0.0.4.

/// Rewrites what differs: a counter's HELP and TYPE carry its full name with `_total`, there is no UNIT and no EOF, and
/// no empty set of labels.
///
/// # Why
/// Scrapers that ask for nothing read 0.0.4, and `promtool check metrics` knows only that: to it a family `x` with samples
/// `x_total` is an untyped metric without help. The library writes a family's HELP line before its TYPE line.
pub(super) fn prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 256);
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take() {
                push(&mut text, &["# HELP ", name, suffix, " ", words]);
            }
            push(&mut text, &["# TYPE ", name, suffix, " ", kind]);
        } else if let Some((name, value)) = line.split_once("{} ") {
            push(&mut text, &[name, " ", value]);
        } else if !line.starts_with('#') {
            push(&mut text, &[line]);
        }
    }
    text
}

fn push(text: &mut String, pieces: &[&str]) {
    for piece in pieces {
        text.push_str(piece);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_carry_their_full_name_and_the_end_marker_goes() {
        let open = "# HELP calls Calls made.\n# TYPE calls counter\n# UNIT calls seconds\ncalls_total 1\n# EOF\n";
        assert_eq!(prometheus_text(open), "# HELP calls_total Calls made.\n# TYPE calls_total counter\ncalls_total 1\n");
    }

    #[test]
    fn gauges_and_histograms_stay_as_they_are() {
        let bare = "# HELP until Until.\n# TYPE until gauge\nuntil{} 3\n";
        assert_eq!(prometheus_text(bare), bare.replace("{}", ""));
        let open = "# HELP rows Rows.\n# TYPE rows gauge\nrows 3\n# HELP took Took.\n# TYPE took histogram\ntook_sum 0.0\n";
        assert_eq!(prometheus_text(open), open);
    }
}
