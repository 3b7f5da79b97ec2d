//! The engine's public surface as it is written down in `surface.txt`, one item a line. What stands
//! there and is gone or different breaks those who embed the engine: it is a new major version. And it
//! stays such that other languages can be bound to it: no type parameters, no lifetimes.
//!
//! After a change that is meant: `UPDATE_SURFACE=1 cargo test -p comity-mls-engine --test surface`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, Fields, Generics, ImplItem, Item, Signature, TraitItem, UseTree, Visibility};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn parse(path: &Path) -> Vec<Item> {
    let text = fs::read_to_string(path).unwrap();
    syn::parse_file(&text).unwrap().items
}

fn one_line(tokens: &impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names that `lib.rs` gives out.
fn exported(items: &[Item]) -> BTreeSet<String> {
    fn leaves(tree: &UseTree, names: &mut BTreeSet<String>) {
        match tree {
            UseTree::Path(path) => leaves(&path.tree, names),
            UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, names)),
            UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
            UseTree::Rename(_) | UseTree::Glob(_) => panic!("name what is given out"),
        }
    }
    let mut names = BTreeSet::new();
    for item in items {
        match item {
            Item::Use(given) if is_public(&given.vis) => leaves(&given.tree, &mut names),
            Item::Mod(module) => assert!(!is_public(&module.vis), "modules stay inside"),
            _ => {}
        }
    }
    names
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Derives and marks that those outside rely on.
fn marks(attributes: &[Attribute]) -> String {
    let wanted =
        |a: &&Attribute| a.path().is_ident("derive") || a.path().is_ident("non_exhaustive");
    let marks: Vec<String> = attributes.iter().filter(wanted).map(one_line).collect();
    marks.join(" ")
}

struct Surface {
    names: BTreeSet<String>,
    lines: BTreeSet<String>,
    generic: Vec<String>,
}

impl Surface {
    fn line(&mut self, line: &str) {
        self.lines.insert(line.trim().to_owned());
    }

    fn plain(&mut self, name: &str, generics: &Generics) {
        if !generics.params.is_empty() {
            self.generic.push(name.to_owned());
        }
    }

    fn has(&self, name: &impl ToString) -> bool {
        self.names.contains(&name.to_string())
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Const(c) if self.has(&c.ident) => {
                self.line(&format!("const {}: {}", c.ident, one_line(&c.ty)));
            }
            Item::Type(t) if self.has(&t.ident) => {
                self.plain(&t.ident.to_string(), &t.generics);
                self.line(&format!("type {} = {}", t.ident, one_line(&t.ty)));
            }
            Item::Struct(s) if self.has(&s.ident) => {
                self.plain(&s.ident.to_string(), &s.generics);
                self.line(&format!("struct {} {}", s.ident, marks(&s.attrs)));
                self.fields(&format!("struct {}", s.ident), &s.fields, false);
            }
            Item::Enum(e) if self.has(&e.ident) => {
                self.plain(&e.ident.to_string(), &e.generics);
                self.line(&format!("enum {} {}", e.ident, marks(&e.attrs)));
                for variant in &e.variants {
                    let name = format!("enum {}::{}", e.ident, variant.ident);
                    self.line(&format!("{name} {}", marks(&variant.attrs)));
                    self.fields(&name, &variant.fields, true);
                }
            }
            Item::Trait(t) if self.has(&t.ident) => {
                self.plain(&t.ident.to_string(), &t.generics);
                self.line(&format!("trait {}: {}", t.ident, one_line(&t.supertraits)));
                for item in &t.items {
                    if let TraitItem::Fn(f) = item {
                        self.function(&format!("trait {}", t.ident), &f.sig);
                    }
                }
            }
            Item::Impl(block) => self.block(block),
            _ => {}
        }
    }

    fn fields(&mut self, of: &str, fields: &Fields, all: bool) {
        for (place, field) in fields.iter().enumerate() {
            if all || is_public(&field.vis) {
                let place = place.to_string();
                let name = field.ident.as_ref().map_or(place, ToString::to_string);
                self.line(&format!("{of}.{name}: {}", one_line(&field.ty)));
            }
        }
    }

    fn block(&mut self, block: &syn::ItemImpl) {
        let of = one_line(&block.self_ty);
        if !self.has(&of) {
            return;
        }
        if let Some((_, implemented, _)) = &block.trait_ {
            self.line(&format!("impl {} for {of}", one_line(implemented)));
            return;
        }
        for item in &block.items {
            match item {
                ImplItem::Fn(f) if is_public(&f.vis) => {
                    self.function(&format!("impl {of}"), &f.sig)
                }
                _ => {}
            }
        }
    }

    fn function(&mut self, of: &str, signature: &Signature) {
        let line = format!("{of} {}", one_line(signature));
        self.plain(&line, &signature.generics);
        if signature
            .inputs
            .iter()
            .any(|input| one_line(input).contains("impl "))
        {
            self.generic.push(line.clone());
        }
        self.line(&line);
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn surface() -> Surface {
    let mut surface = Surface {
        names: exported(&parse(&root().join("src/lib.rs"))),
        lines: BTreeSet::new(),
        generic: Vec::new(),
    };
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    for file in files {
        parse(&file).iter().for_each(|item| surface.item(item));
    }
    surface
}

#[test]
fn the_surface_is_what_is_written_down() {
    let surface = surface();
    for name in &surface.names {
        let defines = |line: &String| line.split([' ', ':']).nth(1) == Some(name);
        assert!(surface.lines.iter().any(defines), "{name} is nowhere");
    }
    let written = root().join("surface.txt");
    let now: String = surface
        .lines
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    if std::env::var_os("UPDATE_SURFACE").is_some() {
        fs::write(&written, &now).unwrap();
    }
    let before = fs::read_to_string(&written).unwrap();
    let before: BTreeSet<&str> = before.lines().collect();
    let now: BTreeSet<&str> = now.lines().collect();
    let gone: Vec<_> = before.difference(&now).collect();
    let new: Vec<_> = now.difference(&before).collect();
    assert!(
        gone.is_empty(),
        "this breaks those who embed the engine, and is a new major version: {gone:#?}"
    );
    assert!(new.is_empty(), "write down what is new: {new:#?}");
}

#[test]
fn other_languages_can_be_bound_to_it() {
    let surface = surface();
    assert!(surface.generic.is_empty(), "{:#?}", surface.generic);
}
