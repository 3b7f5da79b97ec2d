//! `comity completions` and `comity man`: made from the command line's own definition, so that they
//! cannot say anything else.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;

#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell.
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for each command into this directory, instead of the first page to standard
    /// output.
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error("nothing can be written to {}: {source}", place.display())]
    Unwritable { place: PathBuf, source: io::Error },
}

/// # Errors
/// When standard output is closed.
pub fn completions(arguments: &Completions) -> Result<(), GenerateError> {
    let mut text = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Arguments::command(),
        "comity",
        &mut text,
    );
    print(&text)
}

/// # Errors
/// When the directory or standard output cannot be written to.
pub fn man(arguments: &Man) -> Result<(), GenerateError> {
    match &arguments.directory {
        Some(directory) => pages(directory).map_err(|source| unwritable(directory, source)),
        None => {
            let mut text = Vec::new();
            let page = clap_mangen::Man::new(Arguments::command());
            // Writing to memory cannot fail.
            let _ = page.render(&mut text);
            print(&text)
        }
    }
}

fn pages(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Arguments::command(), directory)
}

fn print(text: &[u8]) -> Result<(), GenerateError> {
    match io::stdout().write_all(text) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|source| unwritable(Path::new("standard output"), source)),
    }
}

fn unwritable(place: &Path, source: io::Error) -> GenerateError {
    GenerateError::Unwritable {
        place: place.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_every_command() {
        use clap::ValueEnum;
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "comity", &mut text);
            let text = String::from_utf8(text).unwrap();
            for command in Arguments::command().get_subcommands() {
                let name = command.get_name();
                assert!(text.contains(name), "{shell} does not know {name}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let directory = std::env::temp_dir().join(format!("comity-man-{}", std::process::id()));
        pages(&directory).unwrap();
        let mut command = Arguments::command();
        command.build();
        let mut count = 0;
        for command in command
            .get_subcommands()
            .filter(|one| one.get_name() != "help")
        {
            for name in std::iter::once(command.get_name().to_owned()).chain(
                command
                    .get_subcommands()
                    .filter(|below| below.get_name() != "help")
                    .map(|below| format!("{}-{}", command.get_name(), below.get_name())),
            ) {
                let page = directory.join(format!("comity-{name}.1"));
                assert!(page.is_file(), "{} is missing", page.display());
                count += 1;
            }
        }
        assert!(count > 20, "only {count} pages");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
