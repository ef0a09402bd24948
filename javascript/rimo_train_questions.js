"use strict";

/** The options in plain words: a few questions, each answer setting options by kohya's names. */
class RimoTrainQuestions {
    static OWN = "own";

    /** `onAnswer(options)` is called with what an answer sets. */
    constructor(onAnswer) {
        this.onAnswer = onAnswer;
        this.root = RimoPage.make("div", "rimo-grid rimo-questions");
        this.asked = [];
    }

    build(questions) {
        const {make, say} = RimoPage;
        this.asked = questions.map(({text, answers}) => {
            const select = make("select", "", {},
                ...answers.map((answer, index) => make("option", "", {value: index, textContent: say(answer.text)})),
                make("option", "", {value: RimoTrainQuestions.OWN, textContent: say("as set below"), hidden: true}));
            const sets = make("code", "rimo-sets");
            const why = make("small");
            select.addEventListener("input", () => {
                if (select.value !== RimoTrainQuestions.OWN) this.onAnswer(answers[select.value].options);
            });
            this.root.append(make("label", "rimo-field", {},
                make("span", "rimo-label", {textContent: say(text)}), select, sets, why));
            return {answers, select, sets, why};
        });
    }

    /** The options of the usual answers. */
    get usual() {
        return Object.assign({}, ...this.asked.map(({answers}) => answers[0].options));
    }

    /** Show the answers that fit what is set, and the options that stand for them. */
    show(options) {
        for (const {answers, select, sets, why} of this.asked) {
            const fits = ({options: wanted}) => Object.entries(wanted).every(
                ([name, value]) => Number(options[name]) === Number(value) && options[name] !== "");
            const index = answers.findIndex(fits);
            select.value = index < 0 ? RimoTrainQuestions.OWN : String(index);
            sets.textContent = Object.keys(answers[0].options).map((name) => `${name} ${options[name]}`).join(", ");
            const reason = answers[index]?.why;
            why.textContent = reason ? RimoPage.say(reason) : "";
        }
    }
}
