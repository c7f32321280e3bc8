//! `rollcall send`: signs one delivery body and posts it, as upstream's webhook sender would.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use secrecy::SecretString;

use crate::simulator::post::{Answer, Post};

/// Larger bodies are not sent.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
const EXAMPLES: &str = "Examples:
  rollcall send --secret-file secret --url http://127.0.0.1:8080/webhooks/hr delivery.json
  echo '{\"event\":\"ping\"}' | rollcall send --secret hush --url http://127.0.0.1:8080/webhooks/hr
  ROLLCALL_SECRET in the environment keeps the secret out of the list of processes.";

/// Sign a delivery body and post it to a webhook; ends with 0 only when it is answered 200.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The webhook secret
    #[arg(long, env = "ROLLCALL_SECRET", hide_env_values = true, required_unless_present = "secret_file")]
    secret: Option<String>,
    /// A file whose first entry is the webhook secret; goes before --secret
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Where to post it
    #[arg(long)]
    url: String,
    /// Authorities to trust besides the public ones, for an https:// address with a certificate of one's own (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The body, sent byte for byte; without it, or with -, standard input
    file: Option<PathBuf>,
}

/// Sends it, and prints status and body of the answer.
///
/// # Errors
/// When something cannot be read, nobody answers, or the answer is not 200.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let post = Post::trusting(&args.url, args.secret()?, &args.authorities()?).map_err(anyhow::Error::msg)?;
    let answer = post.deliver(args.body()?.into()).await.map_err(|reason| anyhow::anyhow!("the delivery was not answered: {reason}"))?;
    print(&answer).or_else(super::simulate::past_a_broken_pipe)?;
    ensure!(answer.status == 200, "the receiver answered {}", answer.status);
    Ok(())
}

impl Args {
    fn secret(&self) -> anyhow::Result<SecretString> {
        let Some(path) = &self.secret_file else { return Ok(self.secret.clone().unwrap_or_default().into()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read --secret-file {}", path.display()))?;
        let entry = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(entry.with_context(|| format!("{} holds no secret: put it on a line of its own", path.display()))?.into())
    }

    fn authorities(&self) -> anyhow::Result<Vec<u8>> {
        let Some(path) = &self.ca else { return Ok(Vec::new()) };
        let text = std::fs::read(path).with_context(|| format!("cannot read --ca {}", path.display()))?;
        ensure!(!text.is_empty(), "--ca {} is empty: it should hold a certificate in PEM", path.display());
        Ok(text)
    }

    fn body(&self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        let read = match self.file.as_ref().filter(|path| path.as_os_str() != "-") {
            Some(path) => File::open(path).and_then(|file| file.take(BODY_BYTES_MAX + 1).read_to_end(&mut body)),
            None => io::stdin().lock().take(BODY_BYTES_MAX + 1).read_to_end(&mut body),
        };
        read.context("cannot read the body")?;
        if body.len() as u64 > BODY_BYTES_MAX {
            bail!("the body is larger than 16 MiB: no receiver takes that");
        }
        Ok(body)
    }
}

fn print(answer: &Answer) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", answer.status)?;
    out.write_all(&answer.body)?;
    if !answer.body.ends_with(b"\n") {
        writeln!(out)?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use secrecy::ExposeSecret;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(file: &Path) -> Args {
        let line = ["send", "--url", "http://127.0.0.1:1/", "--secret", "rush", "--secret-file"].map(Path::new);
        Line::try_parse_from(line.into_iter().chain([file, file])).unwrap().args
    }

    #[test]
    fn a_secret_file_counts_by_its_first_entry() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "# of the webhook\n\n  hush \nolder\n").unwrap();
        assert_eq!(args(file.path()).secret().unwrap().expose_secret(), "hush");
        std::fs::write(&file, "# nothing yet\n").unwrap();
        assert!(args(file.path()).secret().unwrap_err().to_string().contains("no secret"));
    }

    #[test]
    fn a_body_is_taken_byte_for_byte_up_to_a_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"\xff{}\n").unwrap();
        assert_eq!(args(file.path()).body().unwrap(), b"\xff{}\n");
        file.as_file().set_len(BODY_BYTES_MAX + 1).unwrap();
        assert!(args(file.path()).body().unwrap_err().to_string().contains("16 MiB"));
    }
}
