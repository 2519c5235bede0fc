// The computer's camera: each picture goes to the server, and only what comes back is ever shown.

import { ApiError, camera as ask } from "./api.js";
import { find, findAll, make, sentence } from "./dom.js";
import { calm, report, tell } from "./notice.js";
import { on, state } from "./store.js";

const WIDTH = 640; // pixels that the camera is asked for
const HEIGHT = 480;
const LONGEST = 2; // seconds from a picture's taking until it must be shown
const QUALITY = 0.9; // of the pictures on their way to the server
const NONE = 404; // the status of a request for what is not there
const OFTEN = 500; // ms between two changes of the words in the corner

let running = null; // {id, stream, video, asked}: one at a time; asked is its last request
let ended = Promise.resolve(); // once nothing is left of those before
let leave = () => {};

const wantedLevel = () => find('#camera-levels input:checked').value;

/** Pictures of a stream in an element that is in no page, so that nobody sees them. */
async function hiddenVideo(stream) {
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.srcObject = stream;
  await video.play();
  return video;
}

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) throw new ApiError("This browser gives pages no camera.", NONE);
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: false, video: { width: WIDTH, height: HEIGHT } });
  } catch (error) {
    const words = {
      NotAllowedError: "The browser does not let this page use the camera. Allow it beside the address, then try again.",
      NotFoundError: "There is no camera.",
      NotReadableError: "The camera is used by another program.",
    };
    throw new ApiError(words[error.name] ?? "The camera cannot be opened.", NONE);
  }
}

async function start() {
  if (running) end(running);
  const mine = (running = { id: null, stream: null, video: null, asked: null });
  calm();
  clear("Starting");
  try {
    await ended;
    if (running !== mine) return;
    mine.stream = await openCamera();
    if (running !== mine) return end(mine);
    for (const track of mine.stream.getTracks()) track.addEventListener("ended", () => lose(mine));
    mine.video = await hiddenVideo(mine.stream);
    if (running !== mine) return end(mine);
    const wanted = { level: wantedLevel(), allow_empty: find("#camera-empty").checked, max_latency: LONGEST };
    mine.asked = ask.start(wanted);
    mine.id = (await mine.asked).id;
    if (running !== mine) return end(mine);
    tell("The camera runs. Its picture is shown once it is hidden.", { seen: false });
    await show(mine);
  } catch (error) {
    if (running === mine) {
      report(error);
      await stop();
    }
  }
}

/** One picture at a time: while one is worked on the camera's newer ones replace each other. */
async function show(mine) {
  const grabbing = document.createElement("canvas");
  const context = grabbing.getContext("2d", { alpha: false });
  const screen = find("#camera-picture");
  const taken = new Map(); // when each picture was
  const pace = { shown: 0, since: performance.now() };
  for (let number = 0; running === mine; number += 1) {
    await nextPicture(mine.video);
    grabbing.width = mine.video.videoWidth;
    grabbing.height = mine.video.videoHeight;
    taken.set(number, performance.now());
    context.drawImage(mine.video, 0, 0);
    const jpeg = await new Promise((resolve) => grabbing.toBlob(resolve, "image/jpeg", QUALITY));
    if (running !== mine) return;
    mine.asked = ask.frame(mine.id, jpeg);
    const answer = await mine.asked;
    if (running !== mine) return;
    if (!answer) continue;
    const picture = await createImageBitmap(answer.picture);
    const behind = performance.now() - taken.get(answer.frame);
    for (const old of taken.keys()) if (old <= answer.frame) taken.delete(old);
    if (running !== mine || behind > 1000 * LONGEST) continue;
    screen.width = picture.width;
    screen.height = picture.height;
    screen.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
    picture.close();
    screen.dataset.frame = answer.frame;
    sayPace(pace, behind);
  }
}

const nextPicture = (video) =>
  new Promise((resolve) => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(resolve) : setTimeout(resolve, 40)));

function sayPace(pace, behind) {
  pace.shown += 1;
  const now = performance.now();
  if (now - pace.since < OFTEN) return;
  const rate = (1000 * pace.shown) / (now - pace.since);
  Object.assign(pace, { shown: 0, since: now });
  showState(`${Math.round(behind)} ms behind, ${rate < 10 ? rate.toFixed(1) : Math.round(rate)} pictures a second`);
}

function showState(words) {
  find("#camera-latency").textContent = words;
  find("#camera-stop").textContent = running ? "Stop the camera" : "Start the camera";
  find("#camera").dataset.running = Boolean(running);
}

/** Its camera is off at once; its session ends once no request is on its way that would come too late. */
function end(one) {
  for (const track of one.stream?.getTracks() ?? []) track.stop();
  if (one.video) one.video.srcObject = null;
  ended = Promise.all([ended, endSession(one)]);
  return ended;
}

async function endSession(one) {
  await one.asked?.catch(() => {});
  if (one.id) await ask.end(one.id).catch(() => {});
}

/** Show no picture, and say why. */
function clear(words) {
  const screen = find("#camera-picture");
  screen.getContext("2d").clearRect(0, 0, screen.width, screen.height);
  delete screen.dataset.frame;
  showState(words);
}

async function stop() {
  const one = running;
  running = null;
  clear("Stopped");
  if (one) await end(one);
}

/** Its camera gives no more pictures: the last one must not stand there as if it were of now. */
function lose(one) {
  if (running !== one) return;
  report(new ApiError("The camera gives no more pictures. Is it still connected? Then start it again.", NONE));
  stop();
}

function build() {
  const choices = state.about.levels.map((level) =>
    make(
      "label",
      { title: `Hides ${level.hides}.` },
      make("input", { type: "radio", name: "camera-level", value: level.name, checked: level.name === "person" }),
      make("span", {}, sentence(level.name)),
    ),
  );
  find("#camera-levels").replaceChildren(find("#camera-levels legend"), ...choices);
  for (const one of findAll("input", find("#camera-levels"))) one.addEventListener("change", () => running && start());
  find("#use-camera").disabled = false; // before, there would be no level to hide
}

function open() {
  document.body.dataset.view = "camera";
  find("#start").hidden = true;
  find("#camera").hidden = false;
  find("#camera-stop").focus();
  start();
}

/** Whether the camera's view is there. */
export const isOpen = () => document.body.dataset.view === "camera";

/** Stop the camera, and show what was there before. */
export function close() {
  stop();
  leave();
}

/** `onLeave()` shows what was there before. */
export function setUp(onLeave) {
  leave = onLeave;
  find("#use-camera").addEventListener("click", open);
  find("#camera-leave").addEventListener("click", close);
  find("#camera-stop").addEventListener("click", () => (running ? stop() : start()));
  find("#camera-empty").addEventListener("change", () => running && start());
  on("about", build);
  on("left", () => running && stop()); // a video was dropped onto the page
  addEventListener("pagehide", () => running?.stream?.getTracks().forEach((track) => track.stop()));
}
