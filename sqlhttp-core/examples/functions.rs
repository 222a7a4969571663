//! SQL functions, an aggregate and a collation of the program: an index that a function computes, the median of a
//! column, and an order that ignores articles.
//!
//! `cargo run -p sqlhttp-core --example functions`

use sqlhttp_core::{
    Aggregate, Arguments, Collation, Database, Error, Executor as _, Function, FunctionError, Options, params,
};

/// The median of the values of a group.
#[derive(Default)]
struct Median(Vec<f64>);

impl Aggregate for Median {
    type Output = Option<f64>;

    fn step(&mut self, arguments: &Arguments<'_>) -> Result<(), FunctionError> {
        self.0.push(arguments.get(0)?);
        Ok(())
    }

    fn finish(mut self) -> Result<Option<f64>, FunctionError> {
        self.0.sort_by(f64::total_cmp);
        Ok(self.0.get(self.0.len() / 2).copied())
    }
}

/// A title without the article at its beginning, in lower case.
fn without_article(title: &str) -> String {
    let title = title.to_lowercase();
    let articles = ["the ", "a ", "an "];
    articles.iter().find_map(|article| title.strip_prefix(article)).unwrap_or(&title).to_owned()
}

fn options() -> Options {
    let initial = Function::scalar("initial", 1, |arguments: &Arguments<'_>| {
        let title = arguments.get::<&str>(0)?;
        Ok(without_article(title).chars().next())
    });
    let by_title = |one: &str, other: &str| without_article(one).cmp(&without_article(other)).then(one.cmp(other));
    Options::new()
        // An index uses the function, so it must be deterministic.
        .function(initial.deterministic())
        .function(Function::aggregate("median", 1, Median::default))
        .collation(Collation::new("title", by_title))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let db = Database::open_in_memory(options())?;
    let schema = "CREATE TABLE books(title TEXT COLLATE title PRIMARY KEY, pages INTEGER);
        CREATE INDEX by_initial ON books(initial(title))";
    db.execute(schema, ()).await?;
    for (title, pages) in [("The Waves", 228), ("A Room", 112), ("Orlando", 336), ("The Years", 444), ("An Ode", 9)] {
        db.execute("INSERT INTO books VALUES (?, ?)", params![title, pages]).await?;
    }

    let titles: Vec<String> = db.query_all("SELECT title FROM books ORDER BY title", ()).await?;
    println!("in order: {}", titles.join(", "));
    let o: Vec<String> = db.query_all("SELECT title FROM books WHERE initial(title) = 'o' ORDER BY title", ()).await?;
    println!("under O: {}", o.join(", "));
    let median: f64 = db.query_one("SELECT median(pages) FROM books", ()).await?;
    println!("median of the pages: {median}");
    if let Err(failed) = db.query_one::<f64>("SELECT median(title) FROM books", ()).await {
        println!("an error of a function is that of the call: {failed}");
    }
    Ok(())
}
