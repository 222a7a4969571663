"""SQLAlchemy with sqlalchemy-rqlite's dialect against one node. The only argument is host:port."""

import datetime
import logging
import sys

import pyrqlite.dbapi2 as dbapi2
from check import equal, raises
from sqlalchemy import ForeignKey, String, create_engine, func, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    rating: Mapped[float | None]
    picture: Mapped[bytes | None]
    born: Mapped[datetime.date | None]
    active: Mapped[bool] = mapped_column(default=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    added: Mapped[datetime.datetime | None]
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))
    author: Mapped[Author] = relationship(back_populates="books")


BORN = datetime.date(1879, 3, 14)
ADDED = datetime.datetime(2024, 2, 29, 12, 30, 0)


def schema(engine):
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)
    found = inspect(engine)
    equal("tables", sorted(found.get_table_names()), ["authors", "books"])
    # The dialect does not report the version of SQLite to SQLAlchemy, so columns and primary keys cannot be listed.
    equal("foreign key", found.get_foreign_keys("books")[0]["referred_table"], "authors")


def objects(engine):
    with Session(engine) as session:
        author = Author(name="A. Eïnstein", rating=4.5, picture=b"\x00\xfe\xff", born=BORN)
        author.books = [Book(title="One", added=ADDED), Book(title="Two's")]
        session.add_all([author, Author(name="Nobody", active=False)])
        session.commit()
        equal("key", author.id, 1)
    with Session(engine) as session:
        author = session.scalars(select(Author).where(Author.name == "A. Eïnstein")).one()
        equal("types", (author.rating, author.picture, author.born, author.active), (4.5, b"\x00\xfe\xff", BORN, True))
        equal("books", [(book.title, book.added) for book in author.books], [("One", ADDED), ("Two's", None)])
        nobody = session.get(Author, 2)
        equal("NULLs", (nobody.rating, nobody.picture, nobody.born, nobody.active), (None, None, None, False))
        author.rating = 4.75
        session.delete(nobody)
        session.commit()
    with Session(engine) as session:
        equal("updated", session.scalar(select(Author.rating)), 4.75)
        joined = select(Author.name, func.count(Book.id)).join(Book).group_by(Author.name)
        equal("joined", [tuple(row) for row in session.execute(joined)], [("A. Eïnstein", 2)])


def statements(engine):
    with engine.begin() as connection:
        connection.execute(insert(Author), [{"name": f"author {n}"} for n in range(100)])
        equal("bulk", connection.scalar(select(func.count()).select_from(Author)), 101)
        found = connection.execute(text("SELECT name FROM authors WHERE id = :id"), {"id": 1}).scalar_one()
        equal("text", found, "A. Eïnstein")
        changed = connection.execute(text("DELETE FROM authors WHERE id > :id"), {"id": 1}).rowcount
        equal("deleted", changed, 100)
    with engine.connect() as connection:
        # The dialect wraps an exception of the driver only if the module defines it.
        kinds = (DBAPIError, dbapi2.Error)
        twice = insert(Author).values(name="A. Eïnstein")
        raises("constraint", kinds, "UNIQUE constraint failed: authors.name", lambda: connection.execute(twice))
        raises("syntax", kinds, "syntax error", lambda: connection.execute(text("SELEC 1")))
        equal("still there", connection.scalar(select(func.count()).select_from(Author)), 1)


def main():
    logging.disable(logging.CRITICAL)
    # pyrqlite itself converts DATE columns to dates.
    engine = create_engine(f"rqlite+pyrqlite://{sys.argv[1]}/", native_datetime=True, pool_pre_ping=True)
    for step in (schema, objects, statements):
        step(engine)
    Base.metadata.drop_all(engine)
    equal("no tables", inspect(engine).get_table_names(), [])
    engine.dispose()


main()
