"""The page: three steps, and what each button does; what is done is in `session`, how it looks in `page.css`."""

from importlib.resources import files
from typing import Any

import gradio as gr

from idfsr_jax.app.desk import SHOWN, Desk
from idfsr_jax.app.session import MAX_VARIANTS
from idfsr_jax.restore.photographs import MAX_PHOTOGRAPHS

_ENDINGS = [".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif"]
_HEAD = """
<header>
  <h1>A sharp face from a few pixels</h1>
  <p>Show some good photographs of a person, then one picture in which the same person is tiny.</p>
</header>
"""
_NOTE = """
<p role="note"><b>Synthesised, never evidence.</b> What a few pixels cannot hold is invented, after your photographs.
<span class="more">Nothing here can tell who is in a picture. Use it for pictures of people who agree.</span></p>
"""


def stylesheet() -> str:
    """The page's CSS."""
    return files("idfsr_jax.app").joinpath("page.css").read_text(encoding="utf-8")


def theme() -> Any:
    """Gradio's plainest theme, in the letters of the visitor's own system, so that none are fetched."""
    fonts = [gr.themes.Font(name) for name in ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")]
    mono = [gr.themes.Font(name) for name in ("ui-monospace", "Consolas", "monospace")]
    plain = gr.themes.Default(primary_hue="teal", neutral_hue="slate", radius_size="lg", font=fonts, font_mono=mono)
    return plain.set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_text_color="white",
    )


def build_page(desk: Desk, *, queue: int) -> Any:
    """The page, a `gradio.Blocks`.

    Args:
      desk: does what the buttons ask for.
      queue: how many requests may wait; further ones are told that the page is busy.
    """
    with gr.Blocks(title="A sharp face from a few pixels", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(_HEAD, elem_id="head", padding=False)
        with gr.Row(elem_id="steps"):
            with gr.Column(min_width=320):
                person = _person()
                picture = _picture(desk.restorer.config.sample.reveal)
            with gr.Column(min_width=320, elem_id="right"):
                result = _result()
        gr.HTML(_NOTE, elem_id="note", padding=False)
        _wire(desk, person, picture, result)
        # A connection that tells when the page is closed is kept only for pages that listen for it.
        page.unload(lambda: None)
    page.queue(max_size=queue, default_concurrency_limit=4, api_open=False)
    return page


def _heading(number: int, title: str, text: str) -> None:
    gr.HTML(f"<h2><span>{number}</span>{title}</h2><p>{text}</p>", elem_classes="heading", padding=False)


def _choices() -> Any:
    """Choices that few need, folded away."""
    # Folded by 0: of what is folded by False itself, Gradio makes nothing until it is opened, and a little later, when
    # all of it is there, puts every first value back over what the visitor may have chosen by then.
    return gr.Accordion("More choices", open=0)


def _person() -> dict[str, Any]:
    with gr.Column(elem_classes="card", elem_id="person"):
        text = f"Three to {MAX_PHOTOGRAPHS} sharp photographs, best with one face in each; different light helps."
        _heading(1, "The person", text)
        photographs = gr.Gallery(
            label="Photographs of the person",
            show_label=False,
            file_types=_ENDINGS,
            interactive=True,
            columns=4,
            fit_columns=False,
            height=200,
            object_fit="cover",
            allow_preview=False,
            buttons=[],
            sources=["upload"],
            elem_id="photographs",
        )
        with _choices():
            keep_all = gr.Checkbox(label="All of them", info="Even if some look like somebody else.")
        return {
            "photographs": photographs,
            "keep_all": keep_all,
            "learn": gr.Button("Learn this person", variant="primary", elem_id="learn"),
            "status": gr.HTML("", elem_id="learnt", elem_classes="status", padding=False),
            "faces": _thumbnails("Faces of group pictures", 4, "faces"),
            "identity": gr.DownloadButton(
                "Download the identity (a few kilobytes, no photograph in it)",
                visible=False,
                elem_id="identity",
                variant="secondary",
                size="sm",
            ),
            "saved": gr.UploadButton(
                "Take a saved identity instead",
                file_types=[".safetensors"],
                elem_id="saved",
                variant="secondary",
                size="sm",
            ),
        }


def _picture(reveal: float) -> dict[str, Any]:
    with gr.Column(elem_classes="card", elem_id="small"):
        _heading(2, "The small picture", "A whole photograph with a small face in it, or a square crop of 4 to 64 px.")
        picture = gr.Image(
            label="The small picture",
            show_label=False,
            type="filepath",
            image_mode=None,
            sources=["upload"],
            buttons=[],
            height=240,
            elem_id="picture",
        )
        with _choices():
            variants = gr.Slider(
                1, MAX_VARIANTS, 1, step=1, label="Variants", info="Several show what is guessed.", elem_id="count"
            )
            faithful = gr.Checkbox(
                label="Stay true to the picture", info="Made small again, the result is the picture that you gave."
            )
            label = gr.Checkbox(label="Print “synthesised” into the result")
            seed = gr.Number(0, label="Draw", info="The same number gives the same face.", precision=0, minimum=0)
            shown = gr.Slider(
                0,
                1,
                reveal,
                step=0.05,
                label="Shown of the small face",
                info="At 0 the model sees nothing of it, at 1 all that there is.",
                elem_id="reveal",
            )
        restore = gr.Button("Restore the face", variant="primary", elem_id="restore")
        status = gr.HTML("", elem_id="said", elem_classes="status", padding=False)
        which = gr.Button("Choose the face yourself", elem_id="which", variant="secondary", size="sm")
    wishes = [variants, faithful, seed, label, shown]
    return {"picture": picture, "wishes": wishes, "restore": restore, "which": which, "status": status}


def _result() -> dict[str, Any]:
    with gr.Column(elem_classes="card", elem_id="result"):
        _heading(3, "The result", "Drag the handle: what was given is on the left, what was made of it on the right.")
        return {
            "empty": gr.HTML("<p>The restored face will appear here.</p>", elem_id="empty", padding=False),
            "slider": gr.ImageSlider(
                label="Before and after",
                show_label=False,
                visible=False,
                interactive=False,
                buttons=["fullscreen"],
                max_height=640,
                elem_id="slider",
            ),
            "notes": gr.HTML("", elem_id="notes", elem_classes="status", padding=False),
            "download": gr.DownloadButton("Download the picture", variant="primary", visible=False, elem_id="download"),
            "variants": _thumbnails("Variants", 3, "variants"),
            "spread": _shown_image("Where the variants differ", "spread"),
            "again": gr.Button("Draw another one", visible=False, elem_id="again"),
            "another": gr.Button("Restore another face in this picture", visible=False, elem_id="another"),
            "ask": gr.HTML("", elem_id="ask", elem_classes="status", padding=False),
            "chooser": _shown_image("Click the face", "chooser"),
        }


def _shown_image(label: str, name: str) -> Any:
    """A picture that the page shows once there is one."""
    buttons = ["fullscreen"]
    return gr.Image(label=label, show_label=False, visible=False, interactive=False, buttons=buttons, elem_id=name)


def _thumbnails(label: str, columns: int, name: str) -> Any:
    """Pictures of which one can be clicked, that the page shows once there are some."""
    return gr.Gallery(
        label=label,
        show_label=False,
        visible=False,
        interactive=False,
        columns=columns,
        height="auto",
        allow_preview=False,
        buttons=[],
        elem_id=name,
    )


def _wire(desk: Desk, person: dict[str, Any], picture: dict[str, Any], result: dict[str, Any]) -> None:
    # One at a time: two would share the processor and the memory and both be late.
    model = {"concurrency_limit": 1, "concurrency_id": "model", "preprocess": False, "api_visibility": "private"}
    quick = {"preprocess": False, "api_visibility": "private", "show_progress": "hidden"}
    done = [picture["status"], *(result[name] for name in SHOWN)]
    # Says which uploads the page makes use of, so that they go when it does.
    person["photographs"].change(desk.note, [person["photographs"]], None, **quick)
    given = [person["photographs"], person["keep_all"]]
    learnt = [person[name] for name in ("status", "identity", "faces")]
    shown = {"show_progress_on": person["status"]}
    person["learn"].click(desk.learn, given, learnt, **shown, **model)
    person["faces"].select(desk.point, given, learnt, **shown, **model)
    person["saved"].upload(desk.recall, [person["saved"], person["photographs"]], learnt, **shown, **model)
    picture["picture"].change(desk.drop, [picture["picture"]], done, **quick)
    given = [picture["picture"], *picture["wishes"]]
    where = {"show_progress_on": picture["status"], "scroll_to_output": True}
    picture["which"].click(desk.which, [picture["picture"]], done, **where, **model)
    picture["restore"].click(desk.restore, given, done, **where, **model)
    result["chooser"].select(desk.click, picture["wishes"], done, **where, **model)
    seed = picture["wishes"][2]
    result["again"].click(lambda number: int(number or 0) + 1, [seed], [seed], **quick).then(
        desk.restore, given, done, **where, **model
    )
    result["another"].click(desk.another, None, done, **quick)
    result["variants"].select(desk.show, None, [result["slider"], result["download"]], **quick)
