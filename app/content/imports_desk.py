"""The desk where members bring in another system's export, and read what became of it."""

from __future__ import annotations

from flask import abort, make_response, redirect, render_template, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.accounts import needs
from app.content.desk import blueprint
from app.content.forms import ImportForm
from app.content.models import Import
from app.content.wordpress import begin_import
from app.tenancy import db


@blueprint.get("/imports/")
@needs("content.edit")
def imports() -> Response:
    """List the imports and offer another."""
    return _page(ImportForm())


@blueprint.post("/imports/")
@needs("content.edit")
def start_import() -> Response:
    """Take an export and begin to bring it in."""
    form = ImportForm()
    if not form.validate():
        return _page(form, 422)
    started = begin_import(form.file.data)
    return redirect(url_for(".show_import", import_id=started.id), 303)


@blueprint.get("/imports/<int:import_id>")
@needs("content.edit")
def show_import(import_id: int) -> Response:
    """Show how far an import is; when it is over, what came, what was changed and what was left out."""
    run = db.session.get(Import, import_id) or abort(404)
    return make_response(render_template("content/desk/import.html", run=run, found=run.findings))


def _page(form: ImportForm, status: int = 200) -> Response:
    runs = db.session.scalars(select(Import).order_by(Import.created_at.desc(), Import.id.desc()).limit(50)).all()
    return make_response(render_template("content/desk/imports.html", form=form, runs=runs), status)
